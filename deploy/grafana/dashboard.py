"""Make the dashboard: `python deploy/grafana/dashboard.py > deploy/grafana/dask-gateway.json`, or `make dashboard`.

What is shown is a table: rows of panels, each with its queries. In a query,
`@` stands for the label that chooses the gateway, and `[~]` for as long as
Grafana finds right for a rate. Waits are so rare that they are looked at by the
hour. Users, clusters and jobs have no label, so nobody's name is shown.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

from attrs import frozen
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
    VariableSort,
)

#: Where the data source is chosen.
SOURCE = DataSourceRef("prometheus", "${datasource}")
#: Columns of Grafana's grid.
WIDTH = 24
#: Panels beside each other, at most.
IN_LINE = 4
UP = ValueMap({"0": ValueMappingResult("down", "red"), "1": ValueMappingResult("up", "green")})


@frozen(kw_only=True)
class Panel:
    """A panel. `queries`: what is written in the legend → the query."""

    title: str
    queries: Mapping[str, str]
    about: str = ""
    unit: str = units.Short
    stacked: bool = False
    most: float | None = None

    def build(self, width: int) -> timeseries.Panel | stat.Panel:
        """What Grafana understands."""
        panel = timeseries.Panel().show_points(VisibilityMode.NEVER).fill_opacity(30 if self.stacked else 8).min(0)
        panel.legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        if self.stacked:
            panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
        if self.most is not None:
            panel.max(self.most)
        return described(panel, self, width).height(8)


@frozen(kw_only=True)
class Figure(Panel):
    """A panel that shows the last values alone, large. Values from a threshold on have its colour."""

    colours: Sequence[tuple[float | None, str]] = ((None, "text"),)
    named: bool = False
    up_or_down: bool = False

    def build(self, width: int) -> timeseries.Panel | stat.Panel:
        """What Grafana understands."""
        panel = (
            stat.Panel()
            .color_mode(BigValueColorMode.VALUE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        )
        panel.text_mode(BigValueTextMode.NAME if self.named else BigValueTextMode.AUTO)
        steps = [Threshold(value, colour) for value, colour in self.colours]
        panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        if self.up_or_down:
            panel.mappings([UP])
        return described(panel, self, width).height(4)


Built = TypeVar("Built", timeseries.Panel, stat.Panel)


def described(built: Built, panel: Panel, width: int) -> Built:
    """What all panels have."""
    built.title(panel.title).description(panel.about).unit(panel.unit).datasource(SOURCE).span(width)
    for number, (legend, query) in enumerate(panel.queries.items()):
        expression = query.replace("@", 'instance=~"$instance"').replace("[~]", "[$__rate_interval]")
        built.with_target(
            prometheus.Dataquery().expr(expression).legend_format(legend).range().ref_id(chr(ord("A") + number))
        )
    return built


def quantiles(histogram: str, *, by: str = "", within: str = "[~]", **labels: str) -> dict[str, str]:
    """The median and the 95th percentile of a histogram, for each value of a label."""
    chosen = "".join(f',{label}="{value}"' for label, value in labels.items())
    buckets = f"sum by ({f'le, {by}' if by else 'le'}) (rate({histogram}_bucket{{@{chosen}}}{within}))"
    legend = f" {{{{{by}}}}}" if by else ""
    return {
        f"half{legend}": f"histogram_quantile(0.5, {buckets})",
        f"95 %{legend}": f"histogram_quantile(0.95, {buckets})",
    }


ROWS: Mapping[str, Sequence[Panel]] = {
    "Overview": (
        Figure(
            title="Parts",
            about="Those of /api/health, which says what is wrong with one that is down.",
            queries={"{{part}}": "min by (part) (dask_gateway_part_up{@})"},
            up_or_down=True,
            colours=((None, "red"), (1, "green")),
        ),
        Figure(title="Users", about="Who have a cluster.", queries={"users": "sum(dask_gateway_users{@})"}),
        Figure(
            title="Up for",
            queries={"{{instance}}": 'time() - process_start_time_seconds{@,job=~"dask-gateway.*"}'},
            unit=units.DurationSeconds,
        ),
        Figure(title="Version", queries={"{{version}}": "dask_gateway_build_info{@}"}, named=True),
    ),
    "Clusters and workers": (
        Panel(
            title="Clusters",
            queries={"{{status}}": 'sum by (status) (dask_gateway_clusters{@,status!~"stopped|failed"})'},
            stacked=True,
        ),
        Panel(
            title="Workers",
            about="Those that are queued wait for the batch system.",
            queries={"{{state}}": "sum by (state) (dask_gateway_workers{@})"},
            stacked=True,
        ),
        Panel(
            title="What became of clusters, within an hour",
            queries={
                "refused: {{code}}": "sum by (code) (increase(dask_gateway_clusters_refused_total{@}[1h]))",
                "started": "sum(increase(dask_gateway_cluster_start_seconds_count{@}[1h]))",
                "{{status}}": "sum by (status) (increase(dask_gateway_clusters_ended_total{@}[1h]))",
            },
        ),
    ),
    "Queue and start": (
        Panel(
            title="Wait in the queue",
            about="From the submission of a job until it runs; of the last hour.",
            queries=quantiles("dask_gateway_queue_wait_seconds", by="role", within="[1h]"),
            unit=units.Seconds,
        ),
        Panel(
            title="Until a cluster runs",
            about="From the request, the queue included; of the last hour.",
            queries=quantiles("dask_gateway_cluster_start_seconds", within="[1h]"),
            unit=units.Seconds,
        ),
        Panel(
            title="Longest silence of a scheduler",
            queries={"{{instance}}": "max by (instance) (dask_gateway_heartbeat_age_seconds{@})"},
            unit=units.Seconds,
        ),
    ),
    "Batch system": (
        Panel(
            title="Submissions",
            about="`full` is a limit of the batch system; what is lost is looked for in the queue.",
            queries={"{{outcome}}": "sum by (outcome) (rate(dask_gateway_submit_seconds_count{@}[~]))"},
            unit=units.OpsPerSecond,
        ),
        Panel(
            title="How long a submission takes",
            about="Of the last hour.",
            queries=quantiles("dask_gateway_submit_seconds", within="[1h]"),
            unit=units.Seconds,
        ),
        Panel(
            title="Looks at the queue",
            queries={"{{outcome}}": "sum by (outcome) (rate(dask_gateway_poll_seconds_count{@}[~]))"},
            unit=units.OpsPerSecond,
        ),
        Panel(
            title="How long a look takes",
            queries=quantiles("dask_gateway_poll_seconds", outcome="answered"),
            unit=units.Seconds,
        ),
    ),
    "API": (
        Panel(
            title="Answers",
            queries={"{{code}}": "sum by (code) (rate(dask_gateway_requests_total{@}[~]))"},
            unit=units.RequestsPerSecond,
            stacked=True,
        ),
        Panel(
            title="The ten routes that are asked most",
            queries={
                "{{method}} {{route}}": "topk(10, sum by (route, method) (rate(dask_gateway_requests_total{@}[~])))"
            },
            unit=units.RequestsPerSecond,
        ),
        Panel(
            title="Logins",
            about="Those that are slowed are not tried: too many like them had failed.",
            queries={
                "{{method}}: {{outcome}}": "sum by (method, outcome) (rate(dask_gateway_logins_total{@}[~]))",
                "slowed": "sum(rate(dask_gateway_logins_slowed_total{@}[~]))",
            },
            unit=units.RequestsPerSecond,
        ),
    ),
    "Connections": (
        Panel(
            title="Open connections",
            queries={
                "all": "sum(dask_gateway_connections{@})",
                "relayed to schedulers": "sum(dask_gateway_relay_connections{@})",
            },
        ),
        Panel(
            title="Relayed bytes",
            queries={"{{direction}}": "sum by (direction) (rate(dask_gateway_relay_bytes_total{@}[~]))"},
            unit=units.BytesPerSecondIEC,
        ),
        Panel(
            title="Relays begun, and connections turned away",
            queries={
                "relays": "sum(rate(dask_gateway_relays_total{@}[~]))",
                "{{reason}}": "sum by (reason) (rate(dask_gateway_connections_refused_total{@}[~]))",
            },
            unit=units.OpsPerSecond,
        ),
    ),
    "Process": (
        Panel(
            title="Processor",
            about="One is a whole core, and all that a gateway can use of it for itself.",
            queries={"{{instance}}": 'rate(process_cpu_seconds_total{@,job=~"dask-gateway.*"}[~])'},
        ),
        Panel(
            title="Memory",
            queries={"{{instance}}": 'process_resident_memory_bytes{@,job=~"dask-gateway.*"}'},
            unit=units.BytesIEC,
        ),
        Panel(
            title="File descriptors in use",
            queries={
                "{{instance}}": 'process_open_fds{@,job=~"dask-gateway.*"} / process_max_fds{@,job=~"dask-gateway.*"}'
            },
            unit=units.PercentUnit,
            most=1,
        ),
        Panel(
            title="Time in rounds of the loop of 10 ms and more",
            about="Everybody else waits meanwhile.",
            queries={"{{instance}}": "rate(dask_gateway_loop_stall_seconds_sum{@}[~])"},
            unit=units.PercentUnit,
            most=1,
        ),
        Panel(
            title="How long a transaction of the database takes",
            queries=quantiles("dask_gateway_store_commit_seconds", within="[1h]"),
            unit=units.Seconds,
        ),
        Panel(
            title="Changes of the database",
            queries={"{{outcome}}": "sum by (outcome) (rate(dask_gateway_store_changes_total{@}[~]))"},
            unit=units.OpsPerSecond,
        ),
        Panel(
            title="Tasks that were started again, within an hour",
            about="Each is a mistake that should be reported, with the log.",
            queries={"{{child}}": "sum by (child) (increase(dask_gateway_child_restarts_total{@}[1h]))"},
        ),
    ),
    "Certificate": (
        Figure(
            title="Days that are left",
            about="With c.Proxy.tls_cert only.",
            queries={"{{instance}}": "(dask_gateway_certificate_expiry_timestamp_seconds{@} - time()) / 86400"},
            unit=units.Days,
            colours=((None, "red"), (3, "orange"), (14, "green")),
        ),
    ),
}


def build() -> str:
    """The dashboard as JSON."""
    instances = (
        dashboard.QueryVariable("instance")
        .label("Gateway")
        .query("label_values(dask_gateway_build_info, instance)")
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )
    sources = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    board = (
        dashboard.Dashboard("Dask Gateway")
        .uid("dask-gateway")
        .description("Made by deploy/grafana/dashboard.py of the gateway; docs/metrics.md says what each series is.")
        .tags(["dask"])
        .time("now-6h", "now")
        .refresh("1m")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(sources)
        .with_variable(instances)
    )
    numbers = itertools.count(1)
    for row, panels in ROWS.items():
        board.with_row(dashboard.Row(row).id(next(numbers)))
        for panel in panels:
            board.with_panel(panel.build(WIDTH // min(len(panels), IN_LINE)).id(next(numbers)))
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True)


if __name__ == "__main__":
    print(build())
