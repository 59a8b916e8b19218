"""Encryption of DKIM private keys by KMS."""

from __future__ import annotations

from botocore.exceptions import ClientError

from egret.aws.clients import Clients, calling, code_of
from egret.core.errors import ContractError

_NOT_OURS = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


class KmsKeyWrapper:
    """The `KeyWrapper` port over one symmetric key; keys of up to 4 KB, which an RSA-2048 one is far below."""

    def __init__(self, clients: Clients, key_id: str) -> None:
        self._clients = clients
        self._key_id = key_id

    def wrap(self, plain: bytes, context: str) -> bytes:
        """Return the ciphertext, bound to the context."""
        with calling("kms Encrypt"):
            answer = self._clients.kms.encrypt(
                KeyId=self._key_id, Plaintext=plain, EncryptionContext={"egret": context}
            )
        return answer["CiphertextBlob"]

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """Return the plaintext; raises ContractError when it is not ours or the context differs."""
        with calling("kms Decrypt"):
            try:
                answer = self._clients.kms.decrypt(
                    KeyId=self._key_id, CiphertextBlob=wrapped, EncryptionContext={"egret": context}
                )
            except ClientError as error:
                if code_of(error) in _NOT_OURS:
                    raise ContractError(detail=f"a wrapped key of {context} cannot be opened") from error
                raise
        return answer["Plaintext"]
