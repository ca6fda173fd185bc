"""Makes the PrometheusRule of ``deploy/kubernetes`` from the alert rules.

As a program, ``python -m tests.deploy.rule_manifest``, it writes the file.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus-rules.yml"
MANIFEST = DEPLOY / "kubernetes" / "monitoring" / "prometheus-rule.yaml"
_HEAD = """\
# For the Prometheus operator: deploy/prometheus-rules.yml as a manifest. Made from it:
#   python -m tests.deploy.rule_manifest
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sg-vllm
  labels: {app.kubernetes.io/name: sg-vllm}
spec:
"""


def made() -> str:
    """Return what the manifest has to hold."""
    rules = RULES.read_text(encoding="utf-8")
    groups = rules[rules.index("groups:\n") :]
    return _HEAD + textwrap.indent(groups, "  ")


if __name__ == "__main__":
    MANIFEST.write_text(made(), encoding="utf-8")
