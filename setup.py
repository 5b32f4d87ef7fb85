"""Packaging of Tumbao: the edge runtime by default, the TFX pipeline and the tools as extras."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search('^__version__ = "(.+)"', (HERE / "tumbao/__init__.py").read_text(encoding="utf-8"), re.M)[1]
EDGE = ["ai-edge-litert==2.3.0", "av", "mutagen", "numpy>=1.26,<3", "packaging", "rich", "soundfile", "soxr", "typer"]
PIPELINE = [
    "ai-edge-quantizer==0.10.0",
    "cleanlab==2.9.0",
    "dill",
    "jinja2",
    "google-cloud-aiplatform",
    "keras-tuner==1.4.8",
    "librosa==0.11.*",
    "markdown-it-py",
    "matplotlib",
    "onnxruntime",
    "pillow",
    "pip",
    "playwright==1.65.*",
    "pretty_midi",
    "pyyaml",
    "scikit-learn==1.5.*",
    "symusic==0.5.9",
    "tf2onnx==1.17.*",
]
TFX_1_21 = [
    "apache-beam==2.77.0",
    "keras==3.15.*",
    "kfp==2.16.1",
    "numpy==2.4.6",
    "onnx==1.23.2",
    "protobuf==6.33.6",
    "scipy==1.15.*",  # later ones warn of scikit-learn 1.5's use of L-BFGS-B
    "tensorflow==2.21.0",
    "tensorflow-data-validation==1.21.0",
    "tensorflow-model-analysis==0.52.0",
    "tensorflow-serving-api==2.19.1",
    "tfx==1.21.0",
]
TFX_1_16 = [
    "apache-beam==2.74.0",
    "keras==3.12.*",
    "kfp==2.5.0",
    "numpy==1.26.4",
    "onnx==1.17.0",
    "protobuf==3.20.3",
    "tensorflow==2.16.2",
    "tensorflow-data-validation==1.16.1",
    "tensorflow-io==0.37.1",
    "tensorflow-model-analysis==0.47.1",
    "tensorflow-serving-api==2.16.1",
    "tfx==1.16.0",
]
LANES = {
    'python_version >= "3.11" and python_version < "3.14"': [*PIPELINE, *TFX_1_21],
    'python_version < "3.11"': [*PIPELINE, *TFX_1_16],
}
SERVE = ["fastapi", "prometheus-client", "python-multipart", "uvicorn"]
FETCH = ["yt-dlp"]
DEV = ["httpx", "hypothesis", "mypy", "numpydoc", "pytest", "pytest-xdist", "ruff", "schemathesis"]

DESCRIPTION = """
Tumbao answers which genre a song has (bachata, cumbia, merengue, salsa, vallenato), or "none of these with confidence":

    tumbao classify song.mp3 music/ --model pushed     a line for each fragment; also JSON, CSV, tags and playlists
    tumbao serve --model pushed                        the same over HTTP, with a web page; needs `tumbao[serve]`

This install classifies with the TFLite files of a model, without TensorFlow. `tumbao[pipeline]` trains models on Linux
x86-64, with TFX 1.21 on Python 3.11 to 3.13 (glibc 2.39 or later) and with TFX 1.16 on Python 3.10.
"""

setup(
    name="tumbao",
    version=VERSION,
    description="Recognises tropical music genres from audio: a TFX/Keras pipeline and a light TFLite runtime",
    long_description=DESCRIPTION,
    long_description_content_type="text/markdown",
    author="The maintainers of Tumbao",
    license_expression="Apache-2.0",
    keywords=["audio", "music", "genre", "bachata", "cumbia", "merengue", "salsa", "vallenato", "tflite", "tfx"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: End Users/Desktop",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Natural Language :: Spanish",
        "Operating System :: MacOS",
        "Operating System :: Microsoft :: Windows",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.10",
    # The packages are folders of the root, and tumbao/ holds a link to each: their import names are tumbao.*, also for
    # mypy and editors, which do not read setuptools' package_dir.
    packages=find_packages(include=["tumbao", "tumbao.*"]),
    package_data={
        "tumbao": ["py.typed"],
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
    # On a Python without TFX, commands of the pipeline say so.
    extras_require={
        "pipeline": [f"{one} ; {marker}" for marker, needed in LANES.items() for one in needed],
        "serve": SERVE,
        "fetch": FETCH,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["tumbao = tumbao.pipeline.cli:main"]},
)
