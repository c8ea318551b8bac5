//! The node's name: the origin of the log that this machine writes. Chosen once, by `init`, and kept in the state folder, because a log
//! that changes its name is another log.

use std::path::PathBuf;

use super::{Config, ConfigError};
use crate::access::names::escaped;

/// Below `state`.
const FILE: &str = "node";

impl Config {
    /// Where the name is kept.
    pub fn node_file(&self) -> PathBuf {
        self.state.join(FILE)
    }

    /// The node's name, 1 to 63 of a-z 0-9 . -
    pub fn node(&self) -> Result<String, ConfigError> {
        let file = self.node_file();
        let text = std::fs::read_to_string(&file).map_err(|why| ConfigError::NotMade { file: file.clone(), why })?;
        let name = text.trim_end();
        if name == node_name(name) {
            return Ok(name.to_owned());
        }
        Err(ConfigError::Wrong(format!("{}: \"{}\" is no name of a node: 1 to 63 of a-z 0-9 . -", file.display(), escaped(name))))
    }
}

/// A node's name from the machine's: lower case, everything else than letters, digits, dots and dashes left out.
pub fn node_name(machine: &str) -> String {
    let fits = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(*c);
    let name: String = machine.to_ascii_lowercase().chars().filter(fits).take(63).collect();
    if name.is_empty() { "bastion".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_name_is_read_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let text = "state = \".\"\n[keys]\ncredential = \"x\"\n";
        let config = Config::parse(text, &dir.path().join("c.toml")).unwrap();
        assert_eq!(config.node_file(), dir.path().join("node"));
        assert!(config.node().unwrap_err().to_string().contains("jit-bastion init"));
        for (text, good) in [("bastion-1\n", true), ("", false), ("a b\n", false), ("A\n", false), ("a+b", false)] {
            std::fs::write(config.node_file(), text).unwrap();
            assert_eq!(config.node().is_ok(), good, "{text:?}");
        }
        assert_eq!(node_name("Bastion_1.Hospital"), "bastion1.hospital");
        assert!(Path::new(&node_name("")).is_relative());
    }
}
