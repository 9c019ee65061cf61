//! Where Daybook keeps what it fetches.

use crate::Error;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where fetched files are kept: `$DAYBOOK_CACHE_DIR`, else `$XDG_CACHE_HOME/daybook`, else `~/.cache/daybook`. Need not
/// exist yet, and may be relative to the working directory.
///
/// # Errors
/// None of the variables is set.
pub fn cache_directory() -> Result<PathBuf, Error> {
    cache_directory_of(variable("DAYBOOK_CACHE_DIR"), variable("XDG_CACHE_HOME"), variable("HOME"))
        .ok_or(Error::NoCacheDirectory)
}

/// An environment variable; set to nothing counts as not set.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn cache_directory_of(own: Option<OsString>, xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    own.map(PathBuf::from)
        .or_else(|| xdg.map(|xdg| Path::new(&xdg).join("daybook")))
        .or_else(|| home.map(|home| Path::new(&home).join(".cache/daybook")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_directory_follows_the_environment() {
        let value = |text: &str| Some(OsString::from(text));
        let own = cache_directory_of(value("/own"), value("/xdg"), value("/home/me"));
        assert_eq!(own.unwrap(), Path::new("/own"));
        let xdg = cache_directory_of(None, value("/xdg"), value("/home/me"));
        assert_eq!(xdg.unwrap(), Path::new("/xdg/daybook"));
        let home = cache_directory_of(None, None, value("/home/me"));
        assert_eq!(home.unwrap(), Path::new("/home/me/.cache/daybook"));
        assert_eq!(cache_directory_of(None, None, None), None);
    }
}
