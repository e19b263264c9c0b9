"""docs/alerts.md from the alert rules: what each says, how bad it is, after how long, and where help is.

`python -m pages.alerts > docs/alerts.md` (`make docs`) renews it; a test compares.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import yaml

from bed.chart import CHART

FILE = CHART / "files" / "alerts.yaml"
TITLES = {
    "consumer-autoscaler-operator": "The operator",
    "consumer-autoscaler-resources": "Resources",
    "consumer-autoscaler-promise": "Lag and promises",
}

HEAD = """# Alerts

<!-- Generated from the rules by `make docs`; edit charts/consumer-autoscaler/files/alerts.yaml instead. -->

The chart brings them as a `PrometheusRule` for the Prometheus operator:

```
helm upgrade consumer-autoscaler charts/consumer-autoscaler -n consumer-autoscaler --reset-then-reuse-values \\
  --set metrics.serviceMonitor.enabled=true --set metrics.prometheusRule.enabled=true
```

| Value | For |
|---|---|
| `metrics.prometheusRule.labels` | labels by which your Prometheus selects rules, `release: …` for example |
| `metrics.prometheusRule.disabled` | alerts to leave out, each as `NAME: true`; a name that no alert has is refused |
| `metrics.prometheusRule.rules` | rules of your own beside them |
| `metrics.prometheusRule.runbookUrlBase` | where the runbooks are, when you keep them elsewhere |

Without that operator, `charts/consumer-autoscaler/files/alerts.yaml` is a rule file that Prometheus takes as it is. The
series must keep their own label `namespace` (`honor_labels: true`, which the chart's monitors set). Each name leads to
its runbook: meaning, impact, diagnosis, mitigation. What to be told of a single resource can also be said in the
resource itself: [its own alerts](spec-alerts.md).
"""

TAIL = """
## The budget of a promise

`ConsumerAutoscalerPromiseBurnFast` and `ConsumerAutoscalerPromiseBurnSlow` do not ask whether a message is late now,
but how fast the time is used up in which messages may be late: 0.5 % of 30 days, 3.6 hours. Each looks at a long
window, so that a short peak is no alarm, and at a short one, so that it ends soon after the trouble has.

| Alert | Long window | Short window | Late for more than | The budget lasts |
|---|---|---|---|---|
| `ConsumerAutoscalerPromiseBurnFast` | 1 h | 5 min | 7.2 % of both | 2 days |
| `ConsumerAutoscalerPromiseBurnSlow` | 6 h | 30 min | 3 % of both | 5 days |
| | 3 days | 6 h | 0.5 % of both | 30 days |
"""


def render() -> str:
    """The whole page."""
    lines = [HEAD]
    for group in yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"]:
        lines += [f"## {TITLES[group['name']]}", "", "| Alert | Severity | After | Says |", "|---|---|---|---|"]
        lines += [_row(rule) for rule in group["rules"]] + [""]
    return "\n".join(lines).rstrip() + "\n" + TAIL


def _row(rule: dict[str, Any]) -> str:
    name, says = rule["alert"], rule["annotations"]["summary"]
    says = re.sub(r"{{ \$labels\.(\w+) }}", lambda label: str(label[1]).upper(), says)
    return f"| [{name}](runbooks/{name}.md) | {rule['labels']['severity']} | {rule.get('for', 'at once')} | {says} |"


if __name__ == "__main__":
    sys.stdout.write(render())
