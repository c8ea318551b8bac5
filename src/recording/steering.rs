//! What a viewer can do to a player, and what the player says of it.

use std::time::Duration;

/// What a viewer does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Key {
    /// Stop, or go on.
    Pause,
    /// To the next change of the picture, and stop there.
    Step,
    /// The next higher speed.
    Faster,
    /// The next lower speed.
    Slower,
    /// As fast as it was.
    Normal,
    /// So many seconds on; negative: back.
    Skip(f64),
    /// To so many tenths of the whole.
    Tenth(u8),
    /// To the end.
    End,
    /// To the next marker.
    Next,
    /// To the marker before.
    Previous,
    /// Show another part of a picture that is larger than the viewer's terminal: rows down, columns right.
    Pan(isize, isize),
    /// Show the part where the cursor is.
    Follow,
    /// Show, or hide, what the keys are.
    Help,
}

/// What the status line says of the keys.
pub(super) const HELP: &str = "space pause  . step  + - speed  = normal  arrows 5 s, 1 min  0-9 tenths  [ ] markers  hjkl c pan  q quit";
/// The speeds that the keys choose from.
pub(super) const SPEEDS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];

/// `1:02:03`, `0:12`.
pub(super) fn clock(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// What takes the viewer's own screen away and brings it back: the alternate screen, and the cursor as it was. Meanwhile a row that is full
/// stays in its row: a character that the viewer's terminal draws wider than ours must not push the picture on (DECAWM).
pub const ENTER: &[u8] = b"\x1b[?1049h\x1b[?7l\x1b[0m\x1b[2J";
/// See [`ENTER`].
pub const LEAVE: &[u8] = b"\x1b[0m\x1b[?7h\x1b[?1049l";
