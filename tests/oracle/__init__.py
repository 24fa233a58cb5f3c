"""A deliberately plain torch oracle for circuits: it shares no code with the engine it judges."""

from .acdc import Decision, oracle_acdc
from .eap import explicit_eap
from .names import edge_names
from .run import OracleRun

__all__ = ["Decision", "OracleRun", "edge_names", "explicit_eap", "oracle_acdc"]
