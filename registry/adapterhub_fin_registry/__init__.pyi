from adapterhub_fin_registry.errors import (
    AdapterHubError as AdapterHubError,
)
from adapterhub_fin_registry.errors import (
    BadConfiguration as BadConfiguration,
)
from adapterhub_fin_registry.errors import (
    BadEvent as BadEvent,
)
from adapterhub_fin_registry.errors import (
    BadInstant as BadInstant,
)
from adapterhub_fin_registry.errors import (
    BadKey as BadKey,
)
from adapterhub_fin_registry.errors import (
    BadManifest as BadManifest,
)
from adapterhub_fin_registry.errors import (
    BadQuery as BadQuery,
)
from adapterhub_fin_registry.errors import (
    BadReference as BadReference,
)
from adapterhub_fin_registry.errors import (
    BadSignature as BadSignature,
)
from adapterhub_fin_registry.errors import (
    Corrupted as Corrupted,
)
from adapterhub_fin_registry.errors import (
    LookAhead as LookAhead,
)
from adapterhub_fin_registry.errors import (
    NotAnAdapter as NotAnAdapter,
)
from adapterhub_fin_registry.errors import (
    NotFound as NotFound,
)
from adapterhub_fin_registry.errors import (
    PolicyViolation as PolicyViolation,
)
from adapterhub_fin_registry.errors import (
    ReadOnly as ReadOnly,
)
from adapterhub_fin_registry.errors import (
    Refused as Refused,
)
from adapterhub_fin_registry.errors import (
    Unreachable as Unreachable,
)
from adapterhub_fin_registry.errors import (
    Unsupported as Unsupported,
)
from adapterhub_fin_registry.errors import (
    WriteFailed as WriteFailed,
)
from adapterhub_fin_registry.incoming import Incoming as Incoming
from adapterhub_fin_registry.incoming import Intake as Intake
from adapterhub_fin_registry.model.manifest import Manifest as Manifest
from adapterhub_fin_registry.model.reference import DigestReference as DigestReference
from adapterhub_fin_registry.model.reference import HubReference as HubReference
from adapterhub_fin_registry.model.reference import Reference as Reference
from adapterhub_fin_registry.model.reference import parse_reference as parse_reference
from adapterhub_fin_registry.model.version import Version as Version
from adapterhub_fin_registry.registry import Registry as Registry
from adapterhub_fin_registry.registry_chain import RegistryChain as RegistryChain
from adapterhub_fin_registry.remote_index import RemoteVersion as RemoteVersion
from adapterhub_fin_registry.trust.keys import PrivateKey as PrivateKey
from adapterhub_fin_registry.trust.keys import PublicKey as PublicKey
from adapterhub_fin_registry.trust.signatures import Signature as Signature
