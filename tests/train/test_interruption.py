import os
import signal
import threading

import pytest

from regard.train.interruption import Abandoned, Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted(number: signal.Signals) -> None:
    interruption, earlier = Interruption(), signal.getsignal(number)
    with interruption.listening():
        os.kill(os.getpid(), number)
        assert interruption.requested
    assert signal.getsignal(number) is earlier


def test_a_second_ctrl_c_strikes_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), Interruption().listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # schedulers repeat themselves: still patient
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_abandonable_work_ends_with_the_first_signal() -> None:
    interruption = Interruption()
    with interruption.listening():
        with pytest.raises(Abandoned), interruption.abandonable():
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not reached")
        with pytest.raises(Abandoned), interruption.abandonable():
            raise AssertionError("not begun")


def test_other_work_goes_on() -> None:
    interruption = Interruption()
    with interruption.listening():
        with interruption.abandonable():
            pass
        os.kill(os.getpid(), signal.SIGINT)
    assert interruption.requested


def test_another_thread_leaves_signals_to_the_main_one() -> None:
    earlier, outcome = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Interruption().listening():
            outcome.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [earlier]
