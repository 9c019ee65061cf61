"""Reads exported flights with DuckDB and pandas, and compares them with the figures that examples/flights expects."""

import csv
import decimal
import json
import sys

import duckdb
import pandas

folder, expected = sys.argv[1:]
with open(expected, newline="") as lines:
    days = {(row["tenant"], row["business_day"]): row for row in csv.DictReader(lines)}


def whole(text):
    return int(float(text)) if text else None


def check(source, rows):
    """Each row is (tenant, day, flights, distance, sum of delays, average delay)."""
    seen = set()
    for tenant, day, flights, distance, delay, average in rows:
        row = days.get((tenant, str(day)[:10]))
        if row is None:
            assert flights == 0, (source, tenant, day, flights)
            continue
        seen.add((tenant, str(day)[:10]))
        assert (flights, distance) == (int(row["final_flights"]), int(row["sum_distance"])), (source, tenant, day)
        assert delay == (whole(row["sum_arr_delay"]) or 0), (source, tenant, day, delay)
        if row["avg_arr_delay"]:
            assert abs(float(average) - float(row["avg_arr_delay"])) < 0.0001, (source, tenant, day, average)
        else:
            assert average is None, (source, tenant, day, average)
    assert seen == set(days), (source, len(seen), len(days))


columns = "tenant, day, flights, distance, arr_delay_sum, arr_delay_avg"
files = f"{folder}/parquet/arrivals/*/*.parquet"
parquet = duckdb.sql(f"select {columns} from '{files}'").fetchall()
check("DuckDB, Parquet", parquet)
types = dict(duckdb.sql(f"select column_name, column_type from (describe from '{files}')").fetchall())
assert (types["day"], types["flights"], types["arr_delay_avg"]) == ("DATE", "BIGINT", "DECIMAL(38,6)"), types
check("DuckDB, CSV", duckdb.sql(f"select {columns} from read_csv('{folder}/csv/arrivals/*/*.csv')").fetchall())
ndjson = f"read_json('{folder}/ndjson/arrivals/*/*.ndjson')"
check("DuckDB, NDJSON", duckdb.sql(f"select {columns} from {ndjson}").fetchall())

frame = pandas.concat([pandas.read_parquet(f"{folder}/parquet/arrivals/{tenant}") for tenant in {key[0] for key in days}])
cells = frame[columns.split(", ")].astype(object).where(frame[columns.split(", ")].notna(), None)
check("pandas", cells.itertuples(index=False, name=None))
assert any(isinstance(value, decimal.Decimal) for value in frame["arr_delay_avg"]), "decimals are decimals"

with open(f"{folder}/again.json") as text:
    again = json.load(text)
assert sum(outcome["written"] for outcome in again.values()) == 0, "nothing is written again"
print(f"{len(parquet)} rows of {len(days)} days agree: DuckDB from Parquet, CSV and NDJSON, pandas from Parquet")
