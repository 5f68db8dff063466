"""Beam search of pysubgroup; run by slice_search.py in another environment.

Prints, as JSON, its time and the best slice.
"""

# Installed in another environment.
# pyright: reportMissingImports=false

import json
import sys
import time

import numpy as np
import pandas as pd
import pysubgroup as ps


def main(path: str) -> None:
    stored = np.load(path)
    table = pd.DataFrame({f"c{i}": column.astype(str) for i, column in enumerate(stored["codes"])})
    table["wrong"] = stored["loss"] == 1
    wall, cpu = time.perf_counter(), time.process_time()
    selectors = ps.create_selectors(table, ignore=["wrong"])
    task = ps.SubgroupDiscoveryTask(
        table,
        ps.BinaryTarget("wrong", True),
        selectors,
        result_set_size=10,
        depth=3,
        qf=ps.StandardQF(0.5),
    )
    result = ps.BeamSearch().execute(task)
    seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    best = str(result.to_dataframe()["subgroup"].iloc[0])
    print(json.dumps({**seconds, "best": best}))


if __name__ == "__main__":
    main(sys.argv[1])
