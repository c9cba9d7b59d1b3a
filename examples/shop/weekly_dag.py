"""`weekly.sh` as a DAG of Apache Airflow: copy it to the folder of DAGs, and set the place of the project."""

from datetime import datetime

from airflow import DAG
from airflow.operators.bash import BashOperator

PROJECT = "/srv/recommender"
LOG = "/data/shop/purchases.parquet"

with DAG(
    "recommender",
    schedule="0 3 * * MON",
    start_date=datetime(2026, 1, 5),
    catchup=False,
    # A version at a time: the second run would go on from a release that the first is about to replace.
    max_active_runs=1,
):
    # Any status but 0 ends the task as failed, with the message of the command in its log.
    BashOperator(
        task_id="weekly",
        bash_command=f"examples/shop/weekly.sh {LOG} ",
        cwd=PROJECT,
        append_env=True,
    )
