//! What compress(1) writes: `.Z`.

use std::io::{self, BufRead, Read};

use crate::content::{cut_short, exactly, wrong};

/// The code that starts afresh.
const CLEAR: usize = 256;

/// Reads what compress wrote. Its end is the end of the bytes.
pub(crate) struct Lzw<R> {
    input: R,
    most_bits: u32,
    clears: bool,
    bits: u32,
    /// Codes come in groups of eight, which are this many bytes; `at` counts bits in the current one.
    group: Vec<u8>,
    at: usize,
    /// For each code above 255 the code that it goes on from, and the byte that it adds.
    prefix: Vec<u16>,
    suffix: Vec<u8>,
    next: usize,
    last: Option<usize>,
    /// The first byte of the last string.
    first: u8,
    /// Bytes that are to be given, the last one first.
    waiting: Vec<u8>,
}

impl<R: BufRead> Lzw<R> {
    pub(crate) fn new(mut input: R) -> io::Result<Self> {
        let [_, _, flags] = exactly(&mut input)?;
        let most_bits = u32::from(flags & 0x1f);
        if !(9..=16).contains(&most_bits) {
            return Err(wrong("compress cannot have written this: its codes have no such width"));
        }
        let clears = flags & 0x80 != 0;
        Ok(Self {
            input,
            most_bits,
            clears,
            bits: 9,
            group: Vec::new(),
            at: 0,
            prefix: vec![0; 1 << most_bits],
            suffix: vec![0; 1 << most_bits],
            next: if clears { CLEAR + 1 } else { CLEAR },
            last: None,
            first: 0,
            waiting: Vec::new(),
        })
    }

    /// Starts a new group; what is left of the current one is fill.
    fn restart(&mut self, bits: u32) {
        self.bits = bits;
        self.group.clear();
        self.at = 0;
    }

    fn code(&mut self) -> io::Result<Option<usize>> {
        let bits = self.bits as usize;
        if self.at + bits > self.group.len() * 8 {
            self.group.clear();
            self.at = 0;
            (&mut self.input).take(bits as u64).read_to_end(&mut self.group)?;
            if self.group.len() * 8 < bits {
                return if self.group.is_empty() { Ok(None) } else { Err(cut_short()) };
            }
        }
        let mut code = 0;
        for bit in 0..bits {
            let at = self.at + bit;
            code |= usize::from(self.group[at / 8] >> (at % 8) & 1) << bit;
        }
        self.at += bits;
        Ok(Some(code))
    }

    /// Puts the bytes of the next code where they wait; says whether there was one.
    fn step(&mut self) -> io::Result<bool> {
        let bad = || wrong("it uses an unknown code");
        if self.next >= 1 << self.bits && self.bits < self.most_bits {
            self.restart(self.bits + 1);
        }
        let Some(code) = self.code()? else { return Ok(false) };
        let Some(last) = self.last else {
            self.first = u8::try_from(code).map_err(|_| bad())?;
            self.waiting.push(self.first);
            self.last = Some(code);
            return Ok(true);
        };
        if code == CLEAR && self.clears {
            // The next code adds an entry in this one's place, which nothing uses.
            self.next = CLEAR;
            self.restart(9);
            return Ok(true);
        }
        let mut at = code;
        if code >= self.next {
            if code > self.next {
                return Err(bad());
            }
            self.waiting.push(self.first);
            at = last;
        }
        while at > 255 {
            self.waiting.push(self.suffix[at]);
            let before = usize::from(self.prefix[at]);
            // Entries lead to earlier ones alone, but for the one that a clearing leaves.
            if before >= at {
                return Err(bad());
            }
            at = before;
        }
        self.first = u8::try_from(at).map_err(|_| bad())?;
        self.waiting.push(self.first);
        if self.next < 1 << self.most_bits {
            self.prefix[self.next] = u16::try_from(last).map_err(|_| bad())?;
            self.suffix[self.next] = self.first;
            self.next += 1;
        }
        self.last = Some(code);
        Ok(true)
    }
}

impl<R: BufRead> Read for Lzw<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.waiting.is_empty() {
            if !self.step()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.waiting.len());
        for (place, byte) in
            buffer.iter_mut().zip(self.waiting.drain(self.waiting.len() - count..).rev())
        {
            *place = byte;
        }
        Ok(count)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;

    /// Writes codes in groups of eight.
    struct Codes {
        out: Vec<u8>,
        group: Vec<usize>,
        bits: usize,
    }

    impl Codes {
        fn put(&mut self, code: usize) {
            self.group.push(code);
            if self.group.len() == 8 {
                self.flush(true);
            }
        }

        fn flush(&mut self, whole: bool) {
            let mut bytes = vec![0_u8; self.bits];
            for (number, code) in self.group.iter().enumerate() {
                for bit in 0..self.bits {
                    let at = number * self.bits + bit;
                    bytes[at / 8] |= u8::try_from(code >> bit & 1).unwrap() << (at % 8);
                }
            }
            let used = (self.group.len() * self.bits).div_ceil(8);
            if !self.group.is_empty() {
                self.out.extend(&bytes[..if whole { self.bits } else { used }]);
            }
            self.group.clear();
        }
    }

    /// Compresses as compress does, with a clearing now and then.
    pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
        let most = 1 << 12;
        let mut codes = Codes { out: b"\x1f\x9d\x8c".to_vec(), group: Vec::new(), bits: 9 };
        let mut table: HashMap<(usize, u8), usize> = HashMap::new();
        let mut next = 257;
        let Some((first, rest)) = bytes.split_first() else { return codes.out };
        let mut current = usize::from(*first);
        let mut since = 0;
        for byte in rest {
            if let Some(code) = table.get(&(current, *byte)) {
                current = *code;
                continue;
            }
            codes.put(current);
            since += 1;
            if next < most {
                table.insert((current, *byte), next);
                next += 1;
                // The reader is one entry behind.
                if next > 1 << codes.bits && codes.bits < 12 {
                    codes.flush(true);
                    codes.bits += 1;
                }
            } else if since > 9000 {
                since = 0;
                codes.put(256);
                codes.flush(true);
                codes.bits = 9;
                table.clear();
                next = 257;
            }
            current = usize::from(*byte);
        }
        codes.put(current);
        codes.flush(false);
        codes.out
    }
}
