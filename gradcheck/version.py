"""The version, and the folder that the package lies in."""

import os

VERSION = "0.1.0"
PACKAGE_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
"""With the separator at its end: a file of the package begins with it."""
