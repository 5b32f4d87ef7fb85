"""Packaging of Tumbao: the edge runtime by default, the TFX pipeline and the tools as extras."""

from setuptools import find_packages, setup

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
    "markdown-it-py",
    "matplotlib",
    "numpy==1.26.4",
    "onnx==1.17.0",
    "pillow",
    "pip",
    "playwright==1.65.*",
    "pretty_midi",
    "protobuf==3.20.3",
    "pyyaml",
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
DEV = ["httpx", "hypothesis", "mypy", "numpydoc", "pytest", "pytest-xdist", "ruff", "schemathesis"]

setup(
    name="tumbao",
    version="0.1.0",
    description="Recognises tropical music genres from audio: a TFX/Keras pipeline and a light TFLite runtime",
    license="Apache-2.0",
    python_requires=">=3.10,<3.11",
    # The packages are folders of the root, and tumbao/ holds a link to each: their import names are tumbao.*, also for
    # mypy and editors, which do not read setuptools' package_dir.
    packages=find_packages(include=["tumbao", "tumbao.*"]),
    package_data={
        "tumbao.analysis": ["*.j2"],
        "tumbao.analysis.compare": ["*.j2"],
        "tumbao.analysis.curate": ["*.j2"],
        "tumbao.analysis.drift": ["*.j2"],
        "tumbao.analysis.inspect": ["*.j2"],
        "tumbao.components.model_card": ["*.j2"],
        "tumbao.analysis.report": ["*.j2"],
        "tumbao.schema": ["schema.pbtxt"],
        "tumbao.serving": ["*.j2", "web/*.css", "web/*.html", "web/*.js", "web/*.svg", "web/litert/*"],
        "tumbao.serving.explain": ["*.j2"],
        "tumbao.trainer.models": ["composed_songs.npz"],
    },
    install_requires=EDGE,
    extras_require={"pipeline": PIPELINE, "serve": SERVE, "fetch": FETCH, "dev": DEV},
    entry_points={"console_scripts": ["tumbao = tumbao.pipeline.cli:main"]},
)
