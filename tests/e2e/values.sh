#!/usr/bin/env bash
# On a kind cluster of its own: the chart with each of its ci/*-values.yaml, and an upgrade from the last release.
#   tests/e2e/values.sh [NODE_IMAGE]        (KEEP=1 leaves the cluster up; so does a failure)
# Needs docker with the image ghcr.io/consumer-autoscaler/consumer-autoscaler:0.1.0, kind, kubectl, helm, git with tags.
set -euo pipefail
cd "$(dirname "$0")/../.."
image=ghcr.io/consumer-autoscaler/consumer-autoscaler:0.1.0
release=consumer-autoscaler
chart=charts/consumer-autoscaler
where=(--namespace "$release")
wait=(--wait --timeout 120s)
# One of the files serves only what has such a label; the others do not mind.
labels=(--set "helmTest.labels.shard=a")

say() { printf '\n== %s\n' "$*"; }

kind create cluster --name values --wait 120s ${1:+--image "$1"}
kind load docker-image "$image" --name values
for namespace in "$release" shop billing; do kubectl create namespace "$namespace"; done
kubectl label namespace "$release" pod-security.kubernetes.io/enforce=restricted

for values in "$chart"/ci/*-values.yaml; do
  say "$values: install, test, uninstall"
  helm install "$release" "$chart" "${where[@]}" "${wait[@]}" --values "$values" "${labels[@]}"
  helm test "$release" "${where[@]}" --logs
  helm uninstall "$release" "${where[@]}" --wait
done

last=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)
if test -n "$last"; then
  say "from the chart of $last to this one, and back"
  old=$(mktemp -d)
  git archive "$last" "$chart" | tar -x -C "$old"
  helm install "$release" "$old/$chart" "${where[@]}" "${wait[@]}" --set image.tag=0.1.0
  kubectl apply --namespace shop -f deploy/samples/payments.yaml
  helm upgrade "$release" "$chart" "${where[@]}" "${wait[@]}"
  helm test "$release" "${where[@]}" --logs
  helm rollback "$release" 1 "${where[@]}" "${wait[@]}"
  helm uninstall "$release" "${where[@]}" --wait
  kubectl get --namespace shop cas/payments # the resources and their CRD outlive the release
fi
test -n "${KEEP:-}" || kind delete cluster --name values
say "passed"
