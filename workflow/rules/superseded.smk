"""List or remove results that do not belong to the current images and configuration.

Required: to be asked for by name. Such results are never removed otherwise.
"""


rule superseded:
    log:
        results.log("superseded"),
    localrule: True
    conda:
        "../../envs/quadrat.yaml"
    params:
        paths=superseded_paths,
        results=settings.results,
        unlink=False,
    script:
        "../../scripts/superseded.py"


use rule superseded as prune with:
    log:
        results.log("prune"),
    params:
        paths=superseded_paths,
        results=settings.results,
        unlink=True,
