//! Builder of dashboards in the JSON format of Grafana 10.1 and later.
//!
//! Panels flow from left to right on a grid of 24 columns.

use anyhow::Result;
use serde_json::{Value, json};

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// One dashboard.
pub(super) struct Dashboard {
    uid: &'static str,
    title: &'static str,
    description: &'static str,
    variables: Vec<Value>,
    panels: Vec<Panel>,
}

/// One panel without its position.
pub(super) struct Panel {
    json: Value,
    width: u64,
    height: u64,
}

/// Expands the shorthand of the queries in `dashboards/`: `%s` selects cluster and node, `%r` also
/// the role, `%i` is the interval.
pub(super) fn query(text: &str) -> String {
    let selected = r#"cluster=~"$cluster",instance=~"$node""#;
    text.replace("%r", &format!(r#"{selected},role="$role""#))
        .replace("%s", selected)
        .replace("%i", "$__rate_interval")
}

/// Colours of a resumed share: below 10 % resumption is broken, 40 % to 75 % is healthy.
fn share_steps() -> Value {
    json!([
        { "color": "red", "value": null },
        { "color": "orange", "value": 0.10 },
        { "color": "green", "value": 0.40 },
        { "color": "blue", "value": 0.75 },
    ])
}

impl Panel {
    fn new(kind: &str, title: &str, description: &str, unit: &str) -> Self {
        Self {
            json: json!({
                "type": kind,
                "title": title,
                "description": description,
                "datasource": { "type": "prometheus", "uid": "${datasource}" },
                "targets": [],
                "options": {},
                "fieldConfig": {
                    "defaults": {
                        "unit": unit,
                        "thresholds": { "mode": "absolute", "steps": [{ "color": "text", "value": null }] },
                    },
                    "overrides": [],
                },
            }),
            width: 8,
            height: 8,
        }
    }

    /// Creates a panel with one number.
    pub(super) fn stat(title: &str, description: &str, unit: &str, expr: &str) -> Self {
        let mut panel = Self::new("stat", title, description, unit);
        panel.json["options"] = json!({
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "graphMode": "area",
            "colorMode": "value",
            "justifyMode": "auto",
            "textMode": "auto",
            "orientation": "auto",
        });
        panel.width = 4;
        panel.height = 4;
        panel.target(expr, "")
    }

    /// Creates a graph over time.
    pub(super) fn graph(title: &str, description: &str, unit: &str) -> Self {
        let mut panel = Self::new("timeseries", title, description, unit);
        panel.json["options"] = json!({
            "legend": { "showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": [] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        });
        panel.json["fieldConfig"]["defaults"]["custom"] = json!({
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 10,
            "showPoints": "never",
        });
        panel.json["fieldConfig"]["defaults"]["min"] = json!(0);
        panel
    }

    /// Creates a table of current values, with one column per label in `columns` and the value in
    /// the column `value`.
    pub(super) fn table(
        title: &str,
        description: &str,
        unit: &str,
        expr: &str,
        columns: &[&str],
        value: &str,
    ) -> Self {
        let mut panel = Self::new("table", title, description, unit).target(expr, "");
        panel.json["targets"][0]["instant"] = json!(true);
        panel.json["targets"][0]["range"] = json!(false);
        panel.json["targets"][0]["format"] = json!("table");
        panel.json["options"] = json!({ "showHeader": true, "cellHeight": "sm" });
        let names: Vec<_> = columns.iter().copied().chain(["Value"]).collect();
        panel.json["transformations"] = json!([
            { "id": "filterFieldsByName", "options": { "include": { "names": names } } },
            { "id": "organize", "options": { "renameByName": { "Value": value } } },
        ]);
        panel
    }

    /// Adds a query in the shorthand of [`query`].
    pub(super) fn target(mut self, expr: &str, legend: &str) -> Self {
        if let Some(targets) = self.json["targets"].as_array_mut() {
            let name = char::from(b'A' + u8::try_from(targets.len()).unwrap_or(25));
            targets.push(json!({
                "refId": name.to_string(),
                "datasource": { "type": "prometheus", "uid": "${datasource}" },
                "expr": query(expr),
                "legendFormat": legend,
            }));
        }
        self
    }

    /// Colours the values as a resumed share, 0 to 1.
    pub(super) fn share(mut self) -> Self {
        let defaults = &mut self.json["fieldConfig"]["defaults"];
        defaults["min"] = json!(0);
        defaults["max"] = json!(1);
        defaults["thresholds"] = json!({ "mode": "absolute", "steps": share_steps() });
        if self.json["type"] == "timeseries" {
            self.json["fieldConfig"]["defaults"]["custom"]["thresholdsStyle"] =
                json!({ "mode": "dashed" });
        }
        if self.json["type"] == "table" {
            self.json["fieldConfig"]["defaults"]["custom"] =
                json!({ "cellOptions": { "type": "color-text" } });
        }
        self
    }

    /// Colours values of at least `limit` red.
    pub(super) fn alarm(mut self, limit: f64) -> Self {
        self.json["fieldConfig"]["defaults"]["thresholds"] = json!({
            "mode": "absolute",
            "steps": [{ "color": "green", "value": null }, { "color": "red", "value": limit }],
        });
        self
    }

    /// Stacks the series, which are parts of a sum.
    pub(super) fn stacked(mut self) -> Self {
        let custom = &mut self.json["fieldConfig"]["defaults"]["custom"];
        custom["stacking"] = json!({ "mode": "normal", "group": "A" });
        custom["fillOpacity"] = json!(40);
        self
    }

    /// Sets the size in columns and rows.
    pub(super) const fn sized(mut self, width: u64, height: u64) -> Self {
        self.width = width;
        self.height = height;
        self
    }

    /// Creates a heading for the panels that follow.
    pub(super) fn row(title: &str) -> Self {
        Self {
            json: json!({ "type": "row", "title": title, "collapsed": false, "panels": [] }),
            width: COLUMNS,
            height: 1,
        }
    }
}

/// Variables of every dashboard: data source, cluster and node.
fn selectors() -> Vec<Value> {
    vec![
        json!({
            "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
            "hide": 0, "multi": false, "includeAll": false,
        }),
        query_variable(
            "cluster",
            "Cluster",
            "label_values(reprise_build_info, cluster)",
        ),
        query_variable(
            "node",
            "Node",
            r#"label_values(reprise_build_info{cluster=~"$cluster"}, instance)"#,
        ),
    ]
}

/// Changes of services and hosts as marks in every chart: the likely cause of a drop is shown
/// beside it.
fn changes() -> Value {
    json!({
        "name": "Changes", "enable": true, "iconColor": "orange",
        "datasource": { "type": "prometheus", "uid": "${datasource}" },
        "expr": r#"sum by (instance, kind) (increase(reprise_changes_total{cluster=~"$cluster",instance=~"$node",kind!="agent"}[1m])) > 0"#,
    })
}

/// Variable whose values come from a query; `All` also matches targets without the label.
pub(super) fn query_variable(name: &str, label: &str, expr: &str) -> Value {
    json!({
        "type": "query", "name": name, "label": label, "query": expr, "hide": 0,
        "datasource": { "type": "prometheus", "uid": "${datasource}" },
        "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
        "current": { "text": "All", "value": "$__all" },
    })
}

/// Variable for the role of the observed processes; both roles together would count a connection
/// within the fleet twice.
pub(super) fn role_variable() -> Value {
    json!({
        "type": "custom", "name": "role", "label": "Role", "query": "server,client", "hide": 0,
        "multi": false, "includeAll": false,
        "current": { "text": "server", "value": "server" },
        "options": [
            { "text": "server", "value": "server", "selected": true },
            { "text": "client", "value": "client", "selected": false },
        ],
    })
}

impl Dashboard {
    /// Creates a dashboard with the common variables and `variables`.
    pub(super) fn new(
        uid: &'static str,
        title: &'static str,
        description: &'static str,
        variables: Vec<Value>,
        panels: Vec<Panel>,
    ) -> Self {
        Self {
            uid,
            title,
            description,
            variables,
            panels,
        }
    }

    /// Stable identifier of the dashboard, also used as its file name.
    pub(super) const fn uid(&self) -> &'static str {
        self.uid
    }

    /// Returns the dashboard as JSON text.
    pub(super) fn json(self) -> Result<String> {
        let variables: Vec<_> = selectors().into_iter().chain(self.variables).collect();
        let dashboard = json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["reprise", "tls"],
            "schemaVersion": 38,
            "editable": true,
            "style": "dark",
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": { "from": "now-6h", "to": "now" },
            "fiscalYearStartMonth": 0,
            "templating": { "list": variables },
            "annotations": { "list": [changes()] },
            "links": [{
                "type": "dashboards", "title": "Reprise", "tags": ["reprise"], "icon": "external link",
                "tooltip": "Other dashboards with the same selection and time", "asDropdown": false,
                "targetBlank": false, "includeVars": true, "keepTime": true,
            }],
            "panels": lay_out(self.panels),
        });
        Ok(format!("{}\n", serde_json::to_string_pretty(&dashboard)?))
    }
}

/// Assigns each panel its position and ID.
fn lay_out(panels: Vec<Panel>) -> Vec<Value> {
    let (mut x, mut y, mut row_height) = (0, 0, 0);
    let mut laid_out = Vec::new();
    for (index, mut panel) in panels.into_iter().enumerate() {
        if x + panel.width > COLUMNS {
            (x, y, row_height) = (0, y + row_height, 0);
        }
        panel.json["id"] = json!(index + 1);
        panel.json["gridPos"] = json!({ "x": x, "y": y, "w": panel.width, "h": panel.height });
        x += panel.width;
        row_height = row_height.max(panel.height);
        laid_out.push(panel.json);
    }
    laid_out
}
