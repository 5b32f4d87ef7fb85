"""Packaging of Tumbao: the edge runtime by default, the TFX pipeline and the tools as extras."""

from setuptools import setup

EDGE = ["ai-edge-litert==2.3.0", "av", "mutagen", "numpy>=1.26,<3", "rich", "soundfile", "soxr", "typer"]
PIPELINE = [
    "ai-edge-quantizer==0.10.0",
    "apache-beam==2.74.0",
    "cleanlab==2.9.0",
    "dill",
    "jinja2",
    "google-cloud-aiplatform",
    "keras==3.12.*",
    "keras-tuner==1.4.8",
    "kfp==2.5.0",
    "librosa==0.11.*",
    "matplotlib",
    "numpy==1.26.4",
    "onnx==1.17.0",
    "pillow",
    "pip",
    "pretty_midi",
    "protobuf==3.20.3",
    "scikit-learn==1.5.*",
    "symusic==0.5.9",
    "tensorflow==2.16.2",
    "tensorflow-data-validation==1.16.1",
    "tensorflow-io==0.37.1",
    "tensorflow-model-analysis==0.47.1",
    "tensorflow-serving-api==2.16.1",
    "tfx==1.16.0",
]
SERVE = ["fastapi", "prometheus-client", "python-multipart", "uvicorn"]
FETCH = ["yt-dlp"]
DEV = ["httpx", "mypy", "numpydoc", "pytest", "ruff", "schemathesis"]

setup(
    name="tumbao",
    version="0.1.0",
    description="Recognises tropical music genres from audio: a TFX/Keras pipeline and a light TFLite runtime",
    license="Apache-2.0",
    python_requires=">=3.10,<3.11",
    packages=[
        "tumbao",
        "tumbao.components",
        "tumbao.components.comparison",
        "tumbao.components.curation",
        "tumbao.components.drift",
        "tumbao.components.features",
        "tumbao.components.ingest",
        "tumbao.components.inspection",
        "tumbao.components.report",
        "tumbao.demo",
        "tumbao.fetch",
        "tumbao.pipeline",
        "tumbao.schema",
        "tumbao.serving",
        "tumbao.serving.server",
        "tumbao.trainer",
        "tumbao.trainer.peers",
    ],
    package_data={
        "tumbao.components.comparison": ["template.html.j2"],
        "tumbao.components.curation": ["template.html.j2"],
        "tumbao.components.drift": ["template.html.j2"],
        "tumbao.components.inspection": ["template.html.j2"],
        "tumbao.components.report": ["*.j2"],
        "tumbao.schema": ["schema.pbtxt"],
        "tumbao.serving": ["web/*.css", "web/*.html", "web/*.js", "web/*.svg", "web/litert/*"],
    },
    install_requires=EDGE,
    extras_require={"pipeline": PIPELINE, "serve": SERVE, "fetch": FETCH, "dev": DEV},
    entry_points={"console_scripts": ["tumbao = tumbao.pipeline.cli:main"]},
)
