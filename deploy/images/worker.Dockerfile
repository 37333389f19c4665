# syntax=docker/dockerfile:1
# Debian slim with Python, and 210 MB of packages (`du` of the environment): numpy with its BLAS, the Triton client with gRPC, botocore.
# Wheels only, so no compiler is ever installed; no torch: the model runs in Triton.
ARG PYTHON

FROM ${PYTHON} AS build
WORKDIR /build
RUN python -m venv --without-pip /opt/waypost
COPY deploy/requirements/worker.txt deploy/requirements/build.txt ./
RUN pip --python /opt/waypost/bin/python install --no-cache-dir --only-binary=:all: --require-hashes -r worker.txt \
    && pip install --no-cache-dir --only-binary=:all: --require-hashes -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/waypost/bin/python install --no-cache-dir --no-deps dist/*.whl

FROM ${PYTHON}
COPY --from=build /opt/waypost /opt/waypost
# Nobody has the user id 10001, so libraries that ask for his name or home are told.
ENV PATH=/opt/waypost/bin:$PATH HOME=/tmp LOGNAME=waypost PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 WAYPOST_EMBEDDED=never
USER 10001:10001
ENTRYPOINT ["waypost"]
CMD ["worker"]
