"""When and whether: Prefect flows that order, retry and wait. The only folder that imports prefect."""
