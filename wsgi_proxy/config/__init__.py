"""The configuration: one frozen model with every default, filled from an nginx.conf or from Python."""

from . import arguments as arguments
from . import plugins as plugins
from .filters import MAX_EXPIRES as MAX_EXPIRES
from .filters import CharsetMap as CharsetMap
from .filters import CharsetSettings as CharsetSettings
from .filters import GzipSettings as GzipSettings
from .filters import MediaTypes as MediaTypes
from .filters import SubSettings as SubSettings
from .filters import UserIDSettings as UserIDSettings
from .locations import locations_of as locations_of
from .model import TLS as TLS
from .model import Access as Access
from .model import AccessLog as AccessLog
from .model import AddHeader as AddHeader
from .model import Break as Break
from .model import CacheSettings as CacheSettings
from .model import CacheZone as CacheZone
from .model import Config, HealthCheck, Policy, ProxyTarget, Server, Sticky
from .model import CoreSettings as CoreSettings
from .model import ErrorPage as ErrorPage
from .model import GuardSettings as GuardSettings
from .model import HeaderTemplates as HeaderTemplates
from .model import If as If
from .model import Instruction as Instruction
from .model import LimitConn as LimitConn
from .model import LimitConnZone as LimitConnZone
from .model import LimitReq as LimitReq
from .model import LimitReqZone as LimitReqZone
from .model import Listen as Listen
from .model import Location as Location
from .model import LogFormat as LogFormat
from .model import Main as Main
from .model import Match as Match
from .model import Predicate as Predicate
from .model import ProxyPass as ProxyPass
from .model import ProxySettings as ProxySettings
from .model import Return as Return
from .model import Rewrite as Rewrite
from .model import Rewriter as Rewriter
from .model import ServerBlock as ServerBlock
from .model import Set as Set
from .model import SourceLine as SourceLine
from .model import Template as Template
from .model import TunnelSettings as TunnelSettings
from .model import Upstream as Upstream
from .model import UpstreamTLS as UpstreamTLS
from .rewriters import PrefixRewriter as PrefixRewriter
from .rewriters import default_redirect as default_redirect
from .units import parse_expires as parse_expires
from .units import parse_number as parse_number
from .units import parse_size as parse_size
from .units import parse_time as parse_time

__all__ = ["Config", "HealthCheck", "Policy", "ProxyTarget", "Server", "Sticky"]
