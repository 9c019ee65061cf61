//! Which versions of the broker are safe to use.

use super::error::Reason;

/// The oldest NATS server that protects tenants from each other, as major, minor and patch.
///
/// An earlier one believes a `Nats-Stream-Source` header that a client made up. Where it is restarted afterwards, no day
/// of any tenant opens or closes.
pub const SAFE_VERSION: (u64, u64, u64) = (2, 15, 0);

/// Marks of a version that comes before the release of the same number.
const BEFORE_RELEASE: [&str; 6] = ["alpha", "beta", "rc", "preview", "pre", "dev"];

/// Says why a broker of this version is refused.
///
/// # Errors
/// [`Reason::TooOld`], and [`Reason::UnknownVersion`] for a text without three numbers.
pub(super) fn check(version: &str) -> Result<(), Reason> {
    let Some((numbers, suffix)) = parse(version) else {
        return Err(Reason::UnknownVersion { version: shortened(version) });
    };
    let is_before_release = BEFORE_RELEASE.iter().any(|mark| suffix.to_ascii_lowercase().contains(mark));
    if numbers < SAFE_VERSION || (numbers == SAFE_VERSION && is_before_release) {
        return Err(Reason::TooOld { version: shortened(version) });
    }
    Ok(())
}

/// Reads `2.15.1`, also as `v2.15.1`, `2.15.1-RC.2` or `2.15.1+build`: three numbers, and what follows them.
fn parse(version: &str) -> Option<((u64, u64, u64), &str)> {
    let version = version.trim();
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let mut parts = version.splitn(3, '.');
    let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    let (patch, suffix) = rest.split_at(digits);
    Some(((major.parse().ok()?, minor.parse().ok()?, patch.parse().ok()?), suffix))
}

/// A version as it may be shown: it is a stranger's text.
fn shortened(version: &str) -> String {
    version.chars().filter(|character| !character.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ones_are_taken_whatever_follows_the_numbers() {
        for version in [
            "2.15.0",
            "2.15.1",
            "v2.15.1",
            "2.16.0-RC.1",
            "2.15.1-beta.2",
            "2.15.0+build",
            "2.15.0-1",
            "3.0.0",
            "10.0.0",
            "2.100.3.4",
        ] {
            assert_eq!(check(version), Ok(()), "{version}");
        }
    }

    #[test]
    fn old_ones_and_previews_are_refused() {
        for version in ["2.14.6", "2.9.25", "1.99.99", "2.15.0-RC.3", "v2.15.0-beta", "2.15.0-preview.1", "0.0.0"] {
            assert_eq!(check(version), Err(Reason::TooOld { version: version.to_owned() }), "{version}");
        }
    }

    #[test]
    fn what_says_no_version_is_refused_as_unknown() {
        for version in ["", "2.15", "latest", "2.x.1", "2.15.RC1", "-1.2.3", "99999999999999999999.1.1"] {
            assert_eq!(check(version), Err(Reason::UnknownVersion { version: version.to_owned() }), "{version}");
        }
        let long = Reason::UnknownVersion { version: "y".repeat(40) };
        assert_eq!(check(&format!("\x1b\n{}", "y".repeat(999))), Err(long));
    }
}
