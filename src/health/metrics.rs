//! Reads a node's page of metrics (Prometheus' text form), under the names of today and under those of old. Pure.

use jiff::Timestamp;

use crate::observed::Sample;

/// What a page says, as far as it concerns us; `None` where it is not that of a chain node.
#[must_use]
pub fn read(page: &str, at: Timestamp) -> Option<Sample> {
    let (mut best, mut finalized, mut sync_target) = (None, None, None);
    let (mut version, mut peers, mut roles, mut started) = (None, None, None, None);
    let mut is_major_syncing = false;
    for line in page.lines() {
        let Some(Line { name, labels, value }) = line_of(line) else { continue };
        match name {
            "block_height" | "block_height_number" => match label(labels, "status").as_deref() {
                Some("best") => best = value,
                Some("finalized") => finalized = value,
                Some("sync_target") => sync_target = value,
                _ => {}
            },
            "build_info" => version = label(labels, "version").map(Into::into),
            "sub_libp2p_peers_count" => peers = value,
            "sub_libp2p_is_major_syncing" => is_major_syncing = value == Some(1),
            "node_roles" => roles = value,
            "process_start_time_seconds" => started = value,
            _ => {}
        }
    }
    Some(Sample {
        at,
        version,
        best: best?,
        finalized: finalized?,
        sync_target,
        is_major_syncing,
        peers,
        roles,
        started,
    })
}

/// A line of a page: the name without its prefix, the labels as they stand there, the value.
struct Line<'a> {
    name: &'a str,
    labels: &'a str,
    value: Option<u64>,
}

fn line_of(line: &str) -> Option<Line<'_>> {
    let name = line.strip_prefix("substrate_").or_else(|| line.strip_prefix("polkadot_"))?;
    let end = name.find(['{', ' '])?;
    let (name, rest) = name.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_at_checked(end_of_labels(rest)?)?,
        None => ("", rest),
    };
    // After the value a time may follow.
    let value = rest.trim_start_matches('}').split_whitespace().next()?;
    Some(Line { name, labels, value: whole(value) })
}

/// Where the labels end: at the first closing brace outside quotes.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

/// The value of a label. None of those that are asked for has a quote in it.
fn label(labels: &str, wanted: &str) -> Option<String> {
    let start = format!("{wanted}=\"");
    let mut from = 0;
    loop {
        let found = from + labels.get(from..)?.find(&start)?;
        if found == 0 || labels[..found].ends_with([',', ' ']) {
            let value = labels.get(found + start.len()..)?;
            return value.split_once('"').map(|(value, _)| value.to_owned());
        }
        from = found + start.len();
    }
}

/// A value is written as a float, however whole it is.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A cast of a float saturates.
fn whole(value: &str) -> Option<u64> {
    let value: f64 = value.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(value as u64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TODAY: &str = r#"# HELP substrate_block_height Block height info of the chain
# TYPE substrate_block_height gauge
substrate_block_height{status="best",chain="polkadot"} 24601337
substrate_block_height{status="finalized",chain="polkadot"} 24601334
substrate_block_height{status="sync_target",chain="polkadot"} 24601338
# HELP substrate_build_info A metric with a constant '1' value labeled by name, version
# TYPE substrate_build_info gauge
substrate_build_info{name="a } \"name\", version=\"0\"",version="1.18.0-0d1f2e3c4b5",chain="polkadot"} 1
substrate_node_roles{chain="polkadot"} 4
substrate_process_start_time_seconds{chain="polkadot"} 1.753862410e9
substrate_sub_libp2p_is_major_syncing{chain="polkadot"} 0
substrate_sub_libp2p_peers_count{chain="polkadot"} 41
substrate_sub_libp2p_peers_count_other{chain="polkadot"} 7
polkadot_parachain_peer_count{protocol="validation/1",chain="polkadot"} 3
"#;
    const OF_OLD: &str = r#"# TYPE polkadot_block_height_number gauge
polkadot_block_height_number{status="best"} 1700003
polkadot_block_height_number{status="finalized"} 1700001
polkadot_block_height_number{status="sync_target"} 1700005
polkadot_build_info{commit="f5a8b2e1",name="sentry",version="0.7.28"} 1
polkadot_node_roles 4
polkadot_sub_libp2p_is_major_syncing 1
polkadot_sub_libp2p_peers_count 12
"#;

    #[test]
    fn a_page_of_today_is_read() {
        let at = Timestamp::UNIX_EPOCH;
        let expected = Sample {
            at,
            version: Some("1.18.0-0d1f2e3c4b5".into()),
            best: 24_601_337,
            finalized: 24_601_334,
            sync_target: Some(24_601_338),
            is_major_syncing: false,
            peers: Some(41),
            roles: Some(4),
            started: Some(1_753_862_410),
        };
        assert_eq!(read(TODAY, at), Some(expected));
    }

    #[test]
    fn a_page_of_old_is_read() {
        let sample = read(OF_OLD, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            (sample.best, sample.finalized, sample.sync_target),
            (1_700_003, 1_700_001, Some(1_700_005))
        );
        assert_eq!(sample.version.as_deref(), Some("0.7.28"));
        assert_eq!((sample.is_major_syncing, sample.peers, sample.started), (true, Some(12), None));
    }

    #[test]
    fn another_page_is_no_sample() {
        for page in ["", "It works!", "substrate_block_height{status=\"best\"", "go_goroutines 12\n"] {
            assert_eq!(read(page, Timestamp::UNIX_EPOCH), None, "{page}");
        }
    }
}
