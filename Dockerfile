# The server (residuum serve) for processors, without CUDA. Needs BuildKit, as Docker 23 and later has.
#
#   docker build -t residuum .
#   docker run -p 8000:8000 -e RESIDUUM_TOKEN -v "$PWD/RUN:/model:ro" residuum
#   docker run … residuum /model --queue 32            other flags after the models
#   docker stop -t 40 …                                what has come is answered first, for up to 30 s (--drain)
#
# EXTRAS: which extras are installed; an engine's goes beside it (serve,openvino). TORCH_INDEX: where torch without CUDA
# lies, the project's own index or a mirror of it.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS installed
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=serve
WORKDIR /source
RUN python -m venv /opt/residuum
RUN /opt/residuum/bin/pip install --no-cache-dir --no-compile --index-url "${TORCH_INDEX}" "torch>=2.11"
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/residuum/bin/pip install --no-cache-dir --no-compile ".[${EXTRAS}]"

FROM python:${PYTHON}-slim
COPY --from=installed /opt/residuum /opt/residuum
RUN useradd --uid 10001 --create-home residuum
USER 10001
ENV PATH=/opt/residuum/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:8000/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["residuum", "serve", "--host", "0.0.0.0"]
CMD ["/model"]
