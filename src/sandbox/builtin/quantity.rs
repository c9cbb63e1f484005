//! Amounts such as `500m` or `1Gi`: read, compared, and written in the one form in which the server stores them.

use std::cmp::Ordering;

/// An amount, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    nano: i128,
    suffix: Suffix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suffix {
    Decimal,
    Binary,
    Exponent,
}

const NANO: i128 = 1_000_000_000;

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.nano.cmp(&other.nano))
    }
}

impl Quantity {
    /// Reads an amount; `None` where the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (factor, suffix) = factor(unit)?;
        let (negative, digits) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 {
            return None;
        }
        let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let product = mantissa.checked_mul(factor)?;
        // What is smaller than can be kept is rounded up.
        let nano = product / scale + i128::from(product % scale != 0);
        Some(Self { nano: if negative { -nano } else { nano }, suffix })
    }

    /// Whether it is more than nothing.
    pub fn is_positive(self) -> bool {
        self.nano > 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }
}

fn factor(unit: &str) -> Option<(i128, Suffix)> {
    let decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    if let Some(power) = decimal.iter().position(|name| *name == unit) {
        return Some((1000_i128.pow(u32::try_from(power).ok()?), Suffix::Decimal));
    }
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(power) = binary.iter().position(|name| *name == unit) {
        return Some((NANO * 1024_i128.pow(u32::try_from(power).ok()? + 1), Suffix::Binary));
    }
    let power: i32 = unit.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = u32::try_from(power + 9).ok().filter(|power| *power <= 27)?;
    Some((10_i128.pow(power), Suffix::Exponent))
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let small = self.nano.abs() < 1024 * NANO;
        if self.suffix == Suffix::Binary && !small && self.nano % NANO == 0 {
            let (mut number, mut power) = (self.nano / NANO, 0);
            while number % 1024 == 0 && power < 6 {
                number /= 1024;
                power += 1;
            }
            return write!(f, "{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut number, mut power) = (self.nano, 0);
        while number % 1000 == 0 && power < 9 {
            number /= 1000;
            power += 1;
        }
        if self.suffix == Suffix::Exponent && power != 3 {
            return write!(f, "{number}e{}", i64::try_from(power).unwrap_or_default() * 3 - 9);
        }
        write!(f, "{number}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][power])
    }
}
