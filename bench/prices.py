"""List prices of AWS in us-east-1 without any free tier, in dollars, as of 2026-11-22.

They change: whoever reads the result should look here first. `PER_MILLION` are prices of a million; SES's stand beside
them for comparison.
"""

from __future__ import annotations

from typing import Final

AS_OF: Final = "2026-11-22"
REGION: Final = "us-east-1"
MILLION: Final = 1_000_000
GB: Final = 1_000_000_000

WRITE_UNIT: Final = 0.625 / MILLION
"""DynamoDB on demand; 1 KB."""
READ_UNIT: Final = 0.125 / MILLION
"""DynamoDB on demand; 4 KB, strongly consistent."""
TABLE_GB_MONTH: Final = 0.25
BACKUP_GB_MONTH: Final = 0.20
"""Point-in-time recovery."""

SQS_REQUEST: Final = (0.40 + 0.10) / MILLION
"""Standard queue, 64 KB; the fair queues' surcharge taken on every request."""

LAMBDA_REQUEST: Final = 0.20 / MILLION
LAMBDA_GB_S: Final = 0.0000133334
"""arm64."""
HTTP_API_REQUEST: Final = 1.00 / MILLION
"""512 KB of request and response."""

S3_PUT: Final = 5.00 / MILLION
S3_GET: Final = 0.40 / MILLION
S3_GB_MONTH: Final = 0.023

KMS_REQUEST: Final = 3.00 / MILLION
LOG_GB: Final = 0.50
LOG_GB_MONTH: Final = 0.03
OUT_GB: Final = 0.09
"""To the internet, the first 10 TB of a month."""

# --- a month of the installation, whether it sends or not

T4G_MICRO_MONTH: Final = 6.13
PUBLIC_IPV4_MONTH: Final = 3.65
EBS_GB_MONTH: Final = 0.08
KMS_KEY_MONTH: Final = 1.00
SECRET_MONTH: Final = 0.40
ALARM_MONTH: Final = 0.10
"""For each metric that an alarm watches."""
METRIC_MONTH: Final = 0.30
"""For each metric of our own, by the hours in which it is written."""

# --- SES, for comparison: dollars for a thousand recipients

SES_ESSENTIALS_1000: Final = 0.16
SES_A_LA_CARTE_1000: Final = 0.10
SES_ATTACHMENT_GB: Final = 0.12
