"""The test bed: a real Kubernetes control plane and real Kafka brokers as local processes.

The demo, the tests and the benchmarks use the same bed. One module per part, each usable alone
(`python -m bed.kafka --help`, with `deploy/dev` on PYTHONPATH):

    parts         where the programs come from: cache, release download, build from modules or artifacts
                  (fetch: verified downloads; gomodules: builds of Go programs; jvm: Kafka's jars and Java)
    processes     children that listen on loopback, log to a file and die with their parent
    controlplane  etcd, kube-apiserver, kube-controller-manager, kube-scheduler
                  (pki: its certificates and kubeconfigs; audit: who asked the API server for what)
    kwok          fake nodes whose pods become Ready by themselves
    kafka         one or three brokers
    kafka_admin   topics, groups, offsets and a few records, for tests
    processnode   a node that runs pods' commands as host processes
    workload      the producer and the consumer that the pods run
    lateness      how old records were at their commit, over all consumers
"""
