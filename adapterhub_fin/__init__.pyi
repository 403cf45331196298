from adapterhub_fin._version import __version__ as __version__
from adapterhub_fin.engine.comparing.compare import (
    compare as compare,
)
from adapterhub_fin.engine.comparing.evidence import (
    Evidence as Evidence,
)
from adapterhub_fin.engine.contamination.contamination import (
    contamination as contamination,
)
from adapterhub_fin.engine.contamination.result import (
    Contamination as Contamination,
)
from adapterhub_fin.engine.data.shards.token_shards import (
    TokenShards as TokenShards,
)
from adapterhub_fin.engine.data.shards.tokenize import (
    tokenize as tokenize,
)
from adapterhub_fin.engine.evaluation.against import (
    Against as Against,
)
from adapterhub_fin.engine.evaluation.against import (
    verify_against as verify_against,
)
from adapterhub_fin.engine.evaluation.diff import (
    diff as diff,
)
from adapterhub_fin.engine.evaluation.evaluate import (
    Evaluation as Evaluation,
)
from adapterhub_fin.engine.evaluation.evaluate import (
    evaluate as evaluate,
)
from adapterhub_fin.engine.evaluation.forgetting import (
    Forgetting as Forgetting,
)
from adapterhub_fin.engine.evaluation.forgotten import (
    forgetting as forgetting,
)
from adapterhub_fin.engine.folding.extracting import (
    extract as extract,
)
from adapterhub_fin.engine.folding.loading import (
    load as load,
)
from adapterhub_fin.engine.inference.dated_versions import (
    DatedVersions as DatedVersions,
)
from adapterhub_fin.engine.inference.dated_versions import (
    load_versions as load_versions,
)
from adapterhub_fin.engine.inference.dated_versions import (
    versions_as_of as versions_as_of,
)
from adapterhub_fin.engine.inference.embed_table import (
    embed_table as embed_table,
)
from adapterhub_fin.engine.inference.load import (
    attach as attach,
)
from adapterhub_fin.engine.inference.vector_rows import (
    EmbeddedTable as EmbeddedTable,
)
from adapterhub_fin.engine.inference.yanked_versions import (
    YankedVersion as YankedVersion,
)
from adapterhub_fin.engine.merging.merge import (
    Merge as Merge,
)
from adapterhub_fin.engine.merging.merge import (
    merge as merge,
)
from adapterhub_fin.engine.monitoring.monitor import (
    monitor as monitor,
)
from adapterhub_fin.engine.monitoring.result import (
    Monitoring as Monitoring,
)
from adapterhub_fin.engine.monitoring.signals import (
    Signal as Signal,
)
from adapterhub_fin.engine.planning.plan import (
    Plan as Plan,
)
from adapterhub_fin.engine.planning.plan import (
    plan as plan,
)
from adapterhub_fin.engine.pool.answers import (
    PoolAnswer as PoolAnswer,
)
from adapterhub_fin.engine.pool.answers import (
    PoolStats as PoolStats,
)
from adapterhub_fin.engine.pool.answers import (
    PoolText as PoolText,
)
from adapterhub_fin.engine.pool.answers import (
    PoolVector as PoolVector,
)
from adapterhub_fin.engine.pool.answers import (
    PoolVectors as PoolVectors,
)
from adapterhub_fin.engine.pool.answers import (
    ResidentVersion as ResidentVersion,
)
from adapterhub_fin.engine.pool.pool import (
    Pool as Pool,
)
from adapterhub_fin.engine.pool.pool import (
    pool as pool,
)
from adapterhub_fin.engine.pool.serving import (
    Serving as Serving,
)
from adapterhub_fin.engine.pool.serving_settings import (
    ServingStats as ServingStats,
)
from adapterhub_fin.engine.pretraining.pretrain import (
    pretrain as pretrain,
)
from adapterhub_fin.engine.pretraining.pretrain import (
    preview_pretrain as preview_pretrain,
)
from adapterhub_fin.engine.pretraining.result import (
    Pretrained as Pretrained,
)
from adapterhub_fin.engine.pretraining.series import (
    Vintages as Vintages,
)
from adapterhub_fin.engine.pretraining.series import (
    pretrain_series as pretrain_series,
)
from adapterhub_fin.engine.probing.probe import (
    probe as probe,
)
from adapterhub_fin.engine.probing.result import (
    Probe as Probe,
)
from adapterhub_fin.engine.sweeping.sweep import (
    Sweep as Sweep,
)
from adapterhub_fin.engine.sweeping.sweep import (
    sweep as sweep,
)
from adapterhub_fin.engine.training.save import (
    save as save,
)
from adapterhub_fin.engine.training.series import (
    Series as Series,
)
from adapterhub_fin.engine.training.series import (
    preview_series as preview_series,
)
from adapterhub_fin.engine.training.series import (
    train_series as train_series,
)
from adapterhub_fin.engine.training.train import (
    preview as preview,
)
from adapterhub_fin.engine.training.train import (
    train as train,
)
from adapterhub_fin.errors import (
    AdapterHubError as AdapterHubError,
)
from adapterhub_fin.errors import (
    BadConfiguration as BadConfiguration,
)
from adapterhub_fin.errors import (
    BadCorpus as BadCorpus,
)
from adapterhub_fin.errors import (
    BadEvent as BadEvent,
)
from adapterhub_fin.errors import (
    BadInstant as BadInstant,
)
from adapterhub_fin.errors import (
    BadKey as BadKey,
)
from adapterhub_fin.errors import (
    BadManifest as BadManifest,
)
from adapterhub_fin.errors import (
    BadMerge as BadMerge,
)
from adapterhub_fin.errors import (
    BadQuery as BadQuery,
)
from adapterhub_fin.errors import (
    BadRecipe as BadRecipe,
)
from adapterhub_fin.errors import (
    BadReference as BadReference,
)
from adapterhub_fin.errors import (
    BadSignature as BadSignature,
)
from adapterhub_fin.errors import (
    BadText as BadText,
)
from adapterhub_fin.errors import (
    BaseNotFound as BaseNotFound,
)
from adapterhub_fin.errors import (
    Corrupted as Corrupted,
)
from adapterhub_fin.errors import (
    DeadlineExceeded as DeadlineExceeded,
)
from adapterhub_fin.errors import (
    ForgetsTooMuch as ForgetsTooMuch,
)
from adapterhub_fin.errors import (
    LookAhead as LookAhead,
)
from adapterhub_fin.errors import (
    NotAnAdapter as NotAnAdapter,
)
from adapterhub_fin.errors import (
    NotFinite as NotFinite,
)
from adapterhub_fin.errors import (
    NotFound as NotFound,
)
from adapterhub_fin.errors import (
    Overloaded as Overloaded,
)
from adapterhub_fin.errors import (
    PluginError as PluginError,
)
from adapterhub_fin.errors import (
    PolicyViolation as PolicyViolation,
)
from adapterhub_fin.errors import (
    ReadOnly as ReadOnly,
)
from adapterhub_fin.errors import (
    Refused as Refused,
)
from adapterhub_fin.errors import (
    TrainingFailed as TrainingFailed,
)
from adapterhub_fin.errors import (
    UnknownName as UnknownName,
)
from adapterhub_fin.errors import (
    Unreachable as Unreachable,
)
from adapterhub_fin.errors import (
    Unsupported as Unsupported,
)
from adapterhub_fin.errors import (
    WriteFailed as WriteFailed,
)
from adapterhub_fin.errors import (
    WrongBase as WrongBase,
)
from adapterhub_fin.errors import (
    WrongTensors as WrongTensors,
)
from adapterhub_fin.exporting.checking import (
    check as check,
)
from adapterhub_fin.exporting.exporting import (
    export as export,
)
from adapterhub_fin.plugin.answers import Estimate as Estimate
from adapterhub_fin.plugin.answers import LabelSet as LabelSet
from adapterhub_fin.plugin.answers import Likelihood as Likelihood
from adapterhub_fin.plugin.answers import Prediction as Prediction
from adapterhub_fin.plugin.answers import Vector as Vector
from adapterhub_fin.plugin.descriptions import (
    Corpus as Corpus,
)
from adapterhub_fin.plugin.descriptions import (
    Head as Head,
)
from adapterhub_fin.plugin.descriptions import (
    Merger as Merger,
)
from adapterhub_fin.plugin.descriptions import (
    Method as Method,
)
from adapterhub_fin.plugin.descriptions import (
    Metric as Metric,
)
from adapterhub_fin.plugin.descriptions import (
    StoreKind as StoreKind,
)
from adapterhub_fin.plugin.hooks import (
    hookimpl as hookimpl,
)
from adapterhub_fin.plugin.interfaces import (
    AttachContext as AttachContext,
)
from adapterhub_fin.plugin.interfaces import (
    BoundedNow as BoundedNow,
)
from adapterhub_fin.plugin.interfaces import (
    KnownAt as KnownAt,
)
from adapterhub_fin.plugin.interfaces import (
    Rows as Rows,
)
from adapterhub_fin.plugin.manager import (
    register as register,
)
from adapterhub_fin.publishing import (
    add_base as add_base,
)
from adapterhub_fin.publishing import (
    import_folder as import_folder,
)
from adapterhub_fin.publishing import (
    publish as publish,
)
from adapterhub_fin.publishing import (
    pull as pull,
)
from adapterhub_fin.recipe.merge_recipe import (
    MergeRecipe as MergeRecipe,
)
from adapterhub_fin.recipe.recipe import Recipe as Recipe
from adapterhub_fin.recipe.schema import (
    schema as schema,
)
from adapterhub_fin.registries import (
    Registry as Registry,
)
from adapterhub_fin.registries import (
    RegistryChain as RegistryChain,
)
from adapterhub_fin.reporting.report import Report as Report
from adapterhub_fin.reporting.report import report as report
from adapterhub_fin_registry import (
    Manifest as Manifest,
)
from adapterhub_fin_registry import (
    Version as Version,
)
