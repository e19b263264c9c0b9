#!/usr/bin/env bash
# On a kind cluster of its own: the image is loaded, installed by the manifests, and scales a real group. The chart has
# a suite of its own (`make e2e`).
#   tests/e2e/manifests.sh        (KEEP=1 leaves the cluster up; so does a failure)
# Needs docker with the image ghcr.io/consumer-autoscaler/consumer-autoscaler:0.1.0, kind, kubectl.
set -euo pipefail
cd "$(dirname "$0")/../.."
image=ghcr.io/consumer-autoscaler/consumer-autoscaler:0.1.0
operator=consumer-autoscaler

say() { printf '\n== %s\n' "$*"; }

say "a cluster whose namespace for the operator enforces the restricted Pod Security Standard"
kind create cluster --name e2e --wait 120s
kind load docker-image "$image" --name e2e
kubectl create namespace "$operator"
kubectl label namespace "$operator" pod-security.kubernetes.io/enforce=restricted

say "install"
kubectl apply -k deploy/
kubectl -n "$operator" rollout status deployment/consumer-autoscaler --timeout=120s

say "a broker, a load and consumers that are slower than it"
kubectl apply -f tests/e2e/shop.yaml
kubectl -n shop rollout status deployment/kafka --timeout=180s
kubectl -n shop rollout status deployment/payments --timeout=120s

say "a promise"
kubectl apply -f tests/e2e/payments.yaml
kubectl -n shop wait --for=condition=SourceHealthy cas/payments --timeout=90s
kubectl -n shop wait --for=jsonpath='{.spec.replicas}'=6 deployment/payments --timeout=300s
kubectl -n shop get events --field-selector reason=TargetScaledUp

say "a new operator while it scales: no replicas are lost, the Lease moves"
before=$(kubectl -n "$operator" get lease consumer-autoscaler -o jsonpath='{.spec.holderIdentity}')
kubectl -n "$operator" rollout restart deployment/consumer-autoscaler
kubectl -n "$operator" rollout status deployment/consumer-autoscaler --timeout=120s
for _ in $(seq 60); do
  after=$(kubectl -n "$operator" get lease consumer-autoscaler -o jsonpath='{.spec.holderIdentity}')
  test "$after" != "$before" && test -n "$after" && break
  sleep 1
done
test "$after" != "$before"
test "$(kubectl -n shop get deployment payments -o jsonpath='{.spec.replicas}')" = 6

say "the load ends: it comes down again"
kubectl -n shop delete job load
kubectl -n shop wait --for=jsonpath='{.spec.replicas}'=1 deployment/payments --timeout=900s

say "take it away: the target keeps its replicas"
kubectl -n shop delete cas payments --timeout=30s
kubectl delete -k deploy/ --timeout=120s
test "$(kubectl -n shop get deployment payments -o jsonpath='{.spec.replicas}')" = 1
test -n "${KEEP:-}" || kind delete cluster --name e2e
say "passed"
