from adapterhub_fin_registry.hub_client.client import Hub as Hub
from adapterhub_fin_registry.hub_client.listing import HubLocation as HubLocation
from adapterhub_fin_registry.hub_client.listing import third_party as third_party
from adapterhub_fin_registry.hub_client.listing import versions as versions
from adapterhub_fin_registry.hub_client.publishing import Publisher as Publisher
from adapterhub_fin_registry.hub_client.repository import HubRepository as HubRepository
from adapterhub_fin_registry.model.model_card import card as card
