"""Lets tools that look for setup.py find the package; all metadata is in pyproject.toml."""

from setuptools import setup

setup()
