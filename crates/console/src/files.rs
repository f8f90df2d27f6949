//! The table of embedded files, written by build.rs.

/// One file of the built console.
pub(crate) struct File {
    /// Its path in the URL.
    pub path: &'static str,
    /// Its content type.
    pub kind: &'static str,
    /// Its entity tag, made from its content.
    pub etag: &'static str,
    /// Whether its name changes with its content.
    pub immutable: bool,
    /// Its content.
    pub body: &'static [u8],
    /// The same, packed with gzip.
    pub gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// What stands in for the console when the program was built without it.
pub(crate) static ABSENT: File = File {
    path: "/index.html",
    kind: "text/html; charset=utf-8",
    etag: "\"absent\"",
    immutable: false,
    body: include_bytes!("absent.html"),
    gzip: None,
};
