"""Egret: transactional mail from your own address, accepted by HTTP, delivered by SMTP, never lost."""
