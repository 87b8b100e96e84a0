//! Durations as manifests write them: `30m`, `1h30m`, `500ms`, `0`.
//!
//! The form is that of Gateway API's GEP-2257: up to four numbers of up to five digits, each with a unit. A plain `0` is
//! allowed besides, because every field that takes a duration to switch off takes it so.

use std::{borrow::Cow, fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units, largest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The most numbers with a unit that one duration may have.
const MAX_PARTS: usize = 4;

/// The most digits of one number.
const MAX_DIGITS: usize = 5;

/// The longest duration, in milliseconds: 99,999 h, so that whole hours fit one number again when it is written.
const MAX_MILLIS: u64 = 99_999 * 3_600_000;

/// A span of time, to the millisecond, of at most 99,999 h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(time::Duration);

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a duration such as 30s, 5m or 1h30m (units h, m, s and ms, at most five digits each), or 0")]
pub struct ParseError;

impl Duration {
    /// A duration of so many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// The same as the standard library's type.
    pub const fn get(self) -> time::Duration {
        self.0
    }

    /// The same as a limit, which 0 switches off.
    pub fn limit(self) -> Option<time::Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl FromStr for Duration {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "0" {
            return Ok(Self::default());
        }
        let mut rest = text;
        let mut millis = 0;
        for _ in 0..MAX_PARTS {
            let (number, after) = split_where(rest, |c| !c.is_ascii_digit());
            let (unit, after) = split_where(after, |c| c.is_ascii_digit());
            if number.is_empty() || number.len() > MAX_DIGITS {
                return Err(ParseError);
            }
            let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(ParseError)?;
            let number: u64 = number.parse().map_err(|_| ParseError)?;
            millis += number * scale; // five digits and four parts stay far below 2^64
            rest = after;
            if rest.is_empty() {
                return if millis <= MAX_MILLIS {
                    Ok(Self(time::Duration::from_millis(millis)))
                } else {
                    Err(ParseError)
                };
            }
        }
        Err(ParseError)
    }
}

/// Splits before the first character that `ends` accepts.
fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0");
        }
        for (unit, scale) in UNITS {
            if rest >= scale {
                write!(f, "{}{unit}", rest / scale)?;
            }
            rest %= scale;
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 28, // four parts of five digits and a unit of two letters
            "pattern": "^(0|([0-9]{1,5}(h|m|s|ms)){1,4})$",
            "example": "1h30m",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(text: &str) -> Result<u128, ParseError> {
        text.parse::<Duration>().map(|d| d.get().as_millis())
    }

    #[test]
    fn reads_what_manifests_write() {
        assert_eq!(millis("0"), Ok(0));
        assert_eq!(millis("0s"), Ok(0));
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("90s"), Ok(90_000));
        assert_eq!(millis("30m"), Ok(1_800_000));
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("1h2m3s4ms"), Ok(3_723_004));
        assert_eq!(millis("99999h"), Ok(99_999 * 3_600_000));
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            " ",
            "5",
            "00",
            "-5m",
            "+5m",
            "1.5h",
            "5 m",
            " 5m",
            "5m ",
            "5M",
            "1d",
            "5min",
            "h",
            "ms",
            "100000s",
            "1h1h1h1h1h",
            "99999h1ms",
            "٣m",
            "5µs",
            "1h30",
            "5m\n",
        ] {
            assert_eq!(millis(text), Err(ParseError), "{text:?}");
        }
    }

    #[test]
    fn zero_switches_a_limit_off() {
        assert_eq!("0s".parse().map(Duration::limit), Ok(None));
        assert_eq!("1ms".parse().map(Duration::limit), Ok(Some(time::Duration::from_millis(1))));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in prop_oneof![0u64..10_000, 0..=MAX_MILLIS]) {
            let duration = Duration(time::Duration::from_millis(ms));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn agrees_with_its_pattern(text in "(0|[0-9]{0,6}(m|s|ms|d)?([0-9]{1,5}(m|s|ms)|[0-9]h){0,4})") {
            let schema = Duration::json_schema(&mut SchemaGenerator::default()).to_value();
            let allowed = jsonschema::is_valid(&schema, &text.clone().into());
            prop_assert_eq!(text.parse::<Duration>().is_ok(), allowed, "{:?}", text);
        }

        #[test]
        fn takes_any_text_without_a_panic(text in any::<String>()) {
            let _ = text.parse::<Duration>();
        }
    }
}
