#!/usr/bin/env python3
"""Compares the figures of every airport and day with examples/flights/expected/march/daily.csv.

Reads what `daybook query TENANT arrivals --grain day --json` printed, one answer after the other, from standard input.
"""

import csv
import json
import sys

COLUMNS = {
    "final_flights": "flights",
    "cancelled": "cancelled",
    "diverted": "diverted",
    "sum_distance": "distance",
    "n_arr_delay": "arr_delay_n",
    "sum_arr_delay": "arr_delay_sum",
    "min_arr_delay": "arr_delay_min",
    "max_arr_delay": "arr_delay_max",
    "p50_nearest_rank": "arr_delay_p50",
    "p95_nearest_rank": "arr_delay_p95",
    "n_on_time": "on_time",
    "distinct_tailnum": "tails",
}
MOST_DIFFERENCES_SHOWN = 10


def answers(text):
    decoder, at = json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        answer, end = decoder.raw_decode(text, at)
        yield answer
        at = end + len(text[end:]) - len(text[end:].lstrip())


def number(text):
    return None if text in ("", "null", None) else float(text)


def main(expected_csv):
    got = {}
    for answer in answers(sys.stdin.read()):
        for row in answer["rows"]:
            got[answer["tenant"], row["day"]] = row
    differences, rows = [], 0
    with open(expected_csv, newline="") as file:
        for expected in csv.DictReader(file):
            rows += 1
            tenant, day = expected["tenant"], expected["business_day"]
            row = got.get((tenant, day))
            if row is None:
                differences.append(f"{tenant} {day}: no row")
                continue
            for column, metric in COLUMNS.items():
                want = number(expected[column])
                # The sum of nothing is 0 here; the expected results leave it empty.
                if metric == "arr_delay_sum" and row["arr_delay_n"] == 0:
                    want = 0
                if want != number(row[metric]):
                    differences.append(f"{tenant} {day} {metric}: expected {expected[column]}, got {row[metric]}")
    for difference in differences[:MOST_DIFFERENCES_SHOWN]:
        print(difference)
    print(f"{rows} days compared, {len(differences)} differences")
    return 1 if differences or not rows else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
