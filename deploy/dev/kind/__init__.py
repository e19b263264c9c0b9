"""The suite's cluster: kind, with images that are pulled where they can be and built where they cannot.

    engine      the Docker engine: the one that answers, or one of our own
    debian      base images from Debian packages
    nodeimage   a kind node image from packages and the programs of `bed.parts`
    images      the operator, the bed's consumer and producer, a broker
    cluster     the cluster, with kubectl and Helm for it
    broker      Kafka in the cluster
    release     the operator as Helm installs it
    lifecycle   all of that up, and down again

On a machine with Docker and the internet `debian` and `nodeimage` have nothing to do.
"""
