# The bed's consumer and producer, in an image of their own: their libraries are those of the operator.
ARG OPERATOR_IMAGE
FROM ${OPERATOR_IMAGE}
COPY bed /opt/workload/bed
ENV PYTHONPATH=/opt/workload
ENTRYPOINT ["/opt/consumer-autoscaler/bin/python", "-m", "bed.workload"]
CMD []
