//! Where the transport's random bytes come from: the system, or a seed where a test must repeat itself.

/// A source of random bytes. It comes in as a parameter, so that an exchange can be replayed byte for byte.
pub trait Entropy: Send {
    /// Overwrites all of `buf` with random bytes.
    fn fill(&mut self, buf: &mut [u8]);
}

/// The system's cryptographic generator: what every real connection uses.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, buf: &mut [u8]) {
        // A key from a generator that failed would be a guessable key: there is nothing to go on with.
        // aws-lc itself ends the process when the kernel gives it nothing, so this arm is not known to be reached.
        if aws_lc_rs::rand::fill(buf).is_err() {
            std::process::abort();
        }
    }
}

/// Repeatable bytes from a seed (SplitMix64), for simulations and replays. Guessable by design: never on a real connection.
///
/// ML-KEM keys and ciphertexts are drawn by aws-lc from the system in any case; their lengths are fixed, so an
/// exchange with them still has the same shape for the same seed.
#[derive(Debug, Clone)]
pub struct SeededEntropy(u64);

impl SeededEntropy {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            for (to, from) in chunk.iter_mut().zip(z.to_le_bytes()) {
                *to = from;
            }
        }
    }
}
