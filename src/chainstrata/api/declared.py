"""What is declared of a dataset, as the API tells it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from chainstrata.api.examples import DATASET
from chainstrata.model import Catalog, Dataset
from chainstrata.model.marking import type_sql
from chainstrata.query import json_kind, looked_up_by, why_no_history


class ColumnAnswer(BaseModel):
    name: str
    type: str = Field(description="Its type in PostgreSQL.")
    json_type: str = Field(alias="json", description="What JSON holds for it.")
    nullable: bool
    doc: str


class RollupAnswer(BaseModel):
    name: str = Field(description="Full name, as /rollups/{name} takes it.")
    every: str = Field(description="Width of a bucket.")
    by: list[str]
    bucket: str = Field(description="Column with the start of a bucket.")


class DatasetAnswer(BaseModel):
    """A dataset as it is declared."""

    model_config = ConfigDict(json_schema_extra={"example": DATASET})

    name: str
    pack: str
    doc: str
    key: list[str]
    entity: list[str] = Field(description="Columns that say what a row is about.")
    time: str | None = Field(description="Column that says when a row is about.")
    series: bool = Field(description="The time is part of the key: each row is about its time for good.")
    as_of: bool = Field(description="Whether the state at a time can be asked for.")
    filters: list[str] = Field(description="Columns by which rows may be looked up.")
    final: str | None = Field(description="Column that says whether a row is beyond being undone by a reorg.")
    keep: str | None = Field(description="How long rows are kept here; null for ever.")
    columns: list[ColumnAnswer]
    rollups: list[RollupAnswer]


class DatasetsAnswer(BaseModel):
    """All datasets."""

    model_config = ConfigDict(json_schema_extra={"example": {"datasets": [DATASET]}})

    datasets: list[DatasetAnswer]


def describe(catalog: Catalog, dataset: Dataset) -> DatasetAnswer:
    """Return what is declared of a dataset."""
    rollups = [
        RollupAnswer(name=f"{dataset.full_name}.{one.name}", every=str(one.every), by=list(one.by), bucket=one.bucket)
        for one in dataset.rollups
    ]
    return DatasetAnswer(
        name=dataset.full_name,
        pack=catalog.pack_of(dataset).name,
        doc=str(dataset.table.comment or ""),
        key=list(dataset.key),
        entity=list(dataset.entity),
        time=dataset.time or None,
        series=bool(dataset.time) and dataset.time in dataset.key,
        as_of=not why_no_history(dataset),
        filters=sorted(looked_up_by(dataset)),
        final=dataset.final or None,
        keep=str(dataset.lifecycle.keep) if dataset.lifecycle.keep else None,
        columns=[_column(column) for column in dataset.table.c],
        rollups=rollups,
    )


def _column(column: Any) -> ColumnAnswer:
    return ColumnAnswer(
        name=column.name,
        type=type_sql(column.type).as_string(None),
        json=json_kind(column.type),
        nullable=bool(column.nullable),
        doc=str(column.comment or ""),
    )
