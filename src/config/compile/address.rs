//! Addresses of providers: which may be dialled at all (R52).

use std::net::IpAddr;

use http::Uri;

/// What is wrong with an address, and what to write instead.
pub(super) type Refused = (&'static str, &'static str);

/// A provider's address, if it is one that may be dialled: HTTP, a host, nothing that carries a secret or a query.
pub(super) fn checked_url(text: &str, allow_link_local: bool) -> Result<Uri, Refused> {
    const METADATA_NAMES: [&str; 3] = ["metadata.google.internal", "metadata", "instance-data"];
    const SHAPE: Refused =
        ("`base_url` is not an HTTP address", "write it as http://host:port/v1 or https://host/v1");
    let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| SHAPE)?;
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(SHAPE);
    };
    if authority.as_str().contains('@') {
        return Err(("`base_url` must not hold a user or password", "put the key into `api_key`"));
    }
    if uri.query().is_some() || text.contains('#') {
        return Err((
            "`base_url` must not have a query or fragment",
            "leave out everything from the `?` or `#` on",
        ));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_link_local = host.parse::<IpAddr>().is_ok_and(crate::providers::is_link_local);
    if (is_link_local || METADATA_NAMES.contains(&host)) && !allow_link_local {
        let help = "cloud machines keep their secrets there; `allow_link_local: true` allows it all the same";
        return Err(("`base_url` is a link-local or metadata address", help));
    }
    Ok(uri)
}
