"""What stops a training: its own failure, and not what Prefect's server has not heard yet."""

import threading
from types import SimpleNamespace

import pytest
from prefect.states import Completed, Failed, Running

from flows.training.work import Work


class Future:
    """As Prefect's: until it is waited for, its state is what the server knows."""

    def __init__(self, ends_as):
        self.state, self.ends_as = Running(), ends_as

    def wait(self):
        self.state = self.ends_as


@pytest.mark.parametrize(("ends_as", "is_stopped"), [(Completed(), False), (Failed(), True)])
def test_the_drawing_stops_where_the_training_failed_and_only_there(ends_as, is_stopped):
    training = SimpleNamespace(workers=SimpleNamespace(stopped=threading.Event()))
    Work.stop_if_failed(training, Future(ends_as))
    assert training.workers.stopped.is_set() == is_stopped
