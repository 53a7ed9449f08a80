//! The extensions of a binary header, which are checked and skipped: each has a type, a length of 16 bits and a value.

use super::ProxyHeaderError;

/// The bytes of the extensions that are still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extensions {
    /// The number of bytes up to the end of the header.
    left: usize,
    /// The number of bytes of the current extension's type and length that have arrived.
    begun: u8,
    /// The first byte of the current extension's length, if it has arrived.
    length_high: u8,
    /// The number of bytes of the current extension's value that are still to come.
    value_left: usize,
    /// Whether the bytes are extensions. Without addresses they may be anything.
    is_checked: bool,
}

impl Extensions {
    /// Expects `length` bytes of extensions.
    pub(super) fn checked(length: usize) -> Extensions {
        Extensions { left: length, begun: 0, length_high: 0, value_left: 0, is_checked: true }
    }

    /// Expects `length` bytes of any content.
    pub(super) fn unchecked(length: usize) -> Extensions {
        Extensions { is_checked: false, ..Extensions::checked(length) }
    }

    /// Removes extensions from the front of `input`. Returns whether they are complete.
    ///
    /// # Errors
    /// If an extension ends beyond the header.
    pub(super) fn skip(&mut self, input: &mut &[u8]) -> Result<bool, ProxyHeaderError> {
        let (mut taken, rest) = input.split_at(input.len().min(self.left));
        *input = rest;
        self.left -= taken.len();
        while self.is_checked && !taken.is_empty() {
            let value = taken.len().min(self.value_left);
            self.value_left -= value;
            taken = &taken[value..];
            if let Some((&byte, after)) = taken.split_first() {
                taken = after;
                self.take_beginning(byte);
                if self.begun == 0 && self.value_left > self.left + taken.len() {
                    return Err(ProxyHeaderError::Extension);
                }
            }
        }
        if self.left == 0 && self.begun > 0 {
            return Err(ProxyHeaderError::Extension);
        }
        Ok(self.left == 0)
    }

    /// Takes the type, or a byte of the length.
    fn take_beginning(&mut self, byte: u8) {
        match self.begun {
            0 => self.begun = 1,
            1 => (self.begun, self.length_high) = (2, byte),
            _ => (self.begun, self.value_left) = (0, u16::from_be_bytes([self.length_high, byte]).into()),
        }
    }
}
