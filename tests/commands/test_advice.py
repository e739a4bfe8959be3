"""What a person is told when the cloud could not be asked, and whether it can work without a change."""

from __future__ import annotations

import pytest

from spotcompute.cloud.endpoint import Endpoint
from spotcompute.cloud.errors import CloudError, InvalidCredentials, NotSent, OutcomeUnknown, Throttled, Unavailable
from spotcompute.commands.advice import advice_on

REAL = Endpoint("cvm.tencentcloudapi.com", "https", is_default=True)
GIVEN = Endpoint("cvm.example.com:8443", "https", is_default=False)
LOCAL = Endpoint("127.0.0.1:8080", "https", is_default=False)
PLAIN = Endpoint("127.0.0.1:8080", "http", is_default=False)


def network(words: str) -> CloudError:
    return NotSent("ClientNetworkError", words)


NO_NAME = network("Failed to resolve 'cvm.example.com' ([Errno -2] Name or service not known)")
NOBODY = network("NewConnectionError(...): [Errno 111] Connection refused")
NO_TLS = OutcomeUnknown("ClientNetworkError", "SSLError(1, '[SSL: WRONG_VERSION_NUMBER] wrong version number')")
UNKNOWN_CA = network("SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate')")
HUNG_UP = OutcomeUnknown("ClientNetworkError", "('Connection aborted.', RemoteDisconnected('...'))")


@pytest.mark.parametrize(
    ("error", "endpoint", "words", "is_wrong"),
    [
        pytest.param(NO_NAME, GIVEN, "Correct SPOTCOMPUTE_ENDPOINT", True, id="no-such-host"),
        pytest.param(NO_NAME, REAL, "Check the network and HTTPS_PROXY", False, id="no-network"),
        pytest.param(NOBODY, LOCAL, "nothing answers at https://127.0.0.1:8080", True, id="refused"),
        pytest.param(NOBODY, REAL, "Check the network", False, id="refused-by-the-real-one"),
        pytest.param(NO_TLS, LOCAL, "Set SPOTCOMPUTE_PROTOCOL=http", True, id="https-to-http-here"),
        pytest.param(NO_TLS, GIVEN, "a key is sent over https only", True, id="https-to-http-elsewhere"),
        pytest.param(UNKNOWN_CA, GIVEN, "Set SPOTCOMPUTE_CA_BUNDLE", True, id="unknown-authority"),
        pytest.param(HUNG_UP, PLAIN, "set SPOTCOMPUTE_PROTOCOL to https", True, id="http-to-https"),
        pytest.param(HUNG_UP, REAL, "Try again", False, id="the-real-one-hung-up"),
        pytest.param(Unavailable("InternalError", "busy"), REAL, "InternalError: busy", False, id="in-trouble"),
        pytest.param(Throttled("RequestLimitExceeded", "slow"), REAL, "asked too often", False, id="rate"),
        pytest.param(
            InvalidCredentials("AuthFailure.SecretIdNotFound", "no such id"),
            REAL,
            "a local simulator needs SPOTCOMPUTE_ENDPOINT and SPOTCOMPUTE_PROTOCOL=http",
            True,
            id="a-simulators-key-at-the-real-one",
        ),
        pytest.param(
            InvalidCredentials("AuthFailure.SignatureExpire", "old"), REAL, "Set the clock", True, id="wrong-clock"
        ),
        pytest.param(
            InvalidCredentials("UnauthorizedOperation", "no"), REAL, "cam-policy.md has the policy", True, id="policy"
        ),
    ],
)
def test_the_sentence_names_what_to_change(error: CloudError, endpoint: Endpoint, words: str, is_wrong: bool) -> None:
    advice = advice_on(error, endpoint)
    assert words in advice.text
    assert advice.is_wrong is is_wrong
    assert not advice.text.endswith(".")
