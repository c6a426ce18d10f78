# From a folder of images to {filename: [prediction of each patch]}; the README says how to run it.
import os

from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/terminal.smk"


# A folder of images needs none: all keys have defaults.
if os.path.lexists("config.yaml"):

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/inspect.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/drawings.smk"
include: "workflow/rules/maps.smk"
include: "workflow/rules/exports.smk"
include: "workflow/rules/tissue.smk"
include: "workflow/rules/superseded.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        results.merge_mark,
        this_run.must_succeed,
        results.overview if settings.maps else [],
