#!/usr/bin/env bash
# What the chart renders, against the published schemas of the lowest, a middle and the newest Kubernetes.
#   tests/e2e/kubeconform.sh        (needs the internet: schemas of Kubernetes and of the Prometheus operator)
# The CRD and its resources have no published schema; the tests check them by the schemas of a real API server.
set -euo pipefail
cd "$(dirname "$0")/../.."
part() { PYTHONPATH=deploy/dev .venv/bin/python -m bed.parts "$1" | awk '{print $2}'; }
helm=$(part helm)
kubeconform=$(part kubeconform)
catalogue='https://raw.githubusercontent.com/datreeio/CRDs-catalog/main/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json'
all=metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.grafanaDashboard.enabled=true

for version in 1.29.0 1.32.0 1.35.0; do
  for values in charts/consumer-autoscaler/ci/*-values.yaml; do
    printf '== Kubernetes %s, %s\n' "$version" "$values"
    "$helm" template consumer-autoscaler charts/consumer-autoscaler --kube-version "$version" --values "$values" --set "$all" \
      | "$kubeconform" -strict -summary -kubernetes-version "$version" -skip CustomResourceDefinition,ConsumerAutoscaler \
        -schema-location default -schema-location "$catalogue"
  done
done
