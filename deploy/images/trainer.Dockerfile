# syntax=docker/dockerfile:1
# Debian slim with Python, and 5.0 GB of packages (`du` of the environment), of which 2.7 GB are CUDA's libraries, 1.1 GB torch and
# 0.7 GB its Triton compiler: torch as PyPI has it trains on CPU and GPU alike. One pod a night pulls it, so size costs little here.
ARG PYTHON

FROM ${PYTHON} AS build
WORKDIR /build
RUN python -m venv --without-pip /opt/waypost
COPY deploy/requirements/trainer.txt deploy/requirements/build.txt ./
RUN pip --python /opt/waypost/bin/python install --no-cache-dir --only-binary=:all: --require-hashes -r trainer.txt \
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
CMD ["night"]
