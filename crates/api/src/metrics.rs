//! `/metrics` in the Prometheus text format. The API knows the platform's rooms; what else counts (the
//! shards) adds its own text through a function.

use std::fmt::Write;

use model::DeliveryState;

use crate::App;

/// Writes one metric without labels.
pub fn metric(out: &mut String, kind: &str, name: &str, help: &str, value: u64) {
    // Writing to a String cannot fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

/// Writes one metric with a label; `values` are label value and number.
pub fn labelled<'a>(
    out: &mut String,
    kind: &str,
    name: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for (key, value) in values {
        let key = key.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(out, "{name}{{{label}=\"{key}\"}} {value}");
    }
}

/// The whole page.
pub(crate) fn page(app: &App) -> String {
    let mut out = String::new();
    let fleet = app.fleet.counts();
    labelled(&mut out, "gauge", "espush_build_info", "The version that runs.", "version", [(app.info.version.as_str(), 1)]);
    metric(&mut out, "gauge", "espush_apps", "Apps.", fleet.apps as u64);
    metric(&mut out, "gauge", "espush_devices", "Registered devices.", fleet.devices as u64);
    metric(&mut out, "gauge", "espush_devices_online", "Devices with a line.", fleet.online as u64);
    metric(&mut out, "gauge", "espush_watchers", "Open event streams.", app.feed.watchers() as u64);
    metric(&mut out, "gauge", "espush_numbered_lines", "Lines of programs and pages with a number.", app.parties.lines() as u64);
    metric(&mut out, "counter", "espush_pushes_total", "Pushes taken.", app.push.submitted());
    metric(
        &mut out,
        "gauge",
        "espush_deliveries_open",
        "Deliveries that something can still happen to.",
        app.push.open_now() as u64,
    );
    metric(&mut out, "gauge", "espush_push_facts_waiting", "Facts that wait for the push room.", app.push.waiting() as u64);
    let reached = DeliveryState::ALL.map(|state| (state.as_str(), app.push.reached(state)));
    labelled(&mut out, "counter", "espush_deliveries_total", "Times that deliveries came into a state.", "state", reached);
    metric(&mut out, "counter", "espush_points_total", "Points stored.", app.telemetry.points_stored());
    metric(
        &mut out,
        "counter",
        "espush_uploads_refused_total",
        "Uploads that were no points or beyond a limit.",
        app.telemetry.uploads_refused(),
    );
    metric(
        &mut out,
        "counter",
        "espush_uploads_dropped_total",
        "Uploads that the store could not keep.",
        app.telemetry.uploads_dropped(),
    );
    metric(&mut out, "counter", "espush_twin_changes_total", "Changes of twins stored.", app.twins.changes_stored());
    metric(&mut out, "gauge", "espush_twins_owed", "Devices that are still to be told something.", app.twins.owed() as u64);
    metric(
        &mut out,
        "counter",
        "espush_twin_reports_refused_total",
        "Reports that were no twin's or beyond a limit.",
        app.twins.reports_refused(),
    );
    metric(
        &mut out,
        "counter",
        "espush_twin_reports_dropped_total",
        "Reports that the store could not keep.",
        app.twins.reports_dropped(),
    );
    for more in &app.metrics {
        more(&mut out);
    }
    out
}
