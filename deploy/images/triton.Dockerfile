# syntax=docker/dockerfile:1
# NVIDIA's image as it is, and the keeper that runs its server. Nearly all of its size is CUDA and the backends; deleting those
# that are not needed in a layer on top would not make it smaller, so nodes are better served by pulling it once and early.
ARG TRITON
FROM ${TRITON}
COPY --chmod=0444 src/waypost/worker/triton_keeper.py /opt/waypost/triton_keeper.py
ENV HOME=/tmp LOGNAME=waypost
USER 10001:10001
ENTRYPOINT ["python3", "-I", "/opt/waypost/triton_keeper.py"]
