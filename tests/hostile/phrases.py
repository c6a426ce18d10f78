"""Phrases of Python and of libraries, which no message about a file contains."""

import re

FORBIDDEN = re.compile(
    r"""
    unable\ to | Vips[A-Z]\w+ | vipspng | pngload | libpng\ read\ error          # libvips
    | \w+\(\)\ failed | IReadBlock | GetBlockRef | \w+::\w+ | \.(cpp|cc|h)\b     # GDAL and its codecs
    | ONNXRuntimeError | Status\ code | miniz | load\ key | Memo\ value          # models
    | \w+(Error|Exception)\b | \[Errno | Traceback | <class | \b[bu]'            # Python
    | NoneType | OrderedDict | \bare\ object | has\ no\ attribute | not\ supported\ between
    | substring\ not\ found | division\ by\ zero | index\ .*out\ of | unpack\ requires
    | can't\ decode | invalid\ literal\ for | is\ ambiguous | inhomogeneous | not\ well-formed
    """,
    re.VERBOSE,
)
