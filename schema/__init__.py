"""The contract between the steps: genres, mel parameters and records.

It imports neither TensorFlow nor any other package of Tumbao.
"""
