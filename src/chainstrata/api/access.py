"""What a route needs: the platform and the node's own account."""

from typing import Annotated, cast

from fastapi import Depends, Request

from chainstrata.monitor import NodeStatus
from chainstrata.node import Platform


def _platform(request: Request) -> Platform:
    return cast(Platform, request.app.state.platform)


def _node(request: Request) -> NodeStatus:
    return cast(NodeStatus, request.app.state.node())


ThePlatform = Annotated[Platform, Depends(_platform)]
TheNode = Annotated[NodeStatus, Depends(_node)]
